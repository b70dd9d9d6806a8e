"""pure: a model that vLLM, or another server of OpenAI's protocol, runs: what `Rater` does, over
HTTP."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from qsit_ray.data.encode import AFTER, IMAGE, answered
from qsit_ray.endpoint import Endpoint, completion
from qsit_ray.errors import InputError
from qsit_ray.models.profiles import chosen, named, read
from qsit_ray.prompts import DESCRIBE, PAPER, Profile, level_tokens, multiple_choice_prompt
from qsit_ray.rating import messages
from qsit_ray.rating.pictures import Source, Unreachable, is_kept, name_of, shown
from qsit_ray.rating.results import (
    MOST_TOKENS,
    Choice,
    Reject,
    Reply,
    Score,
    check_candidates,
    check_most_tokens,
    choice_of,
    score_of,
)

if TYPE_CHECKING:
    from qsit_ray.chat import Chat

ROLE = "model"
CALLS = 16
"""Calls at the same time; the server makes its batches of them."""
AHEAD = 2
"""Images that are open for each call at the same time."""
FIRST_ATTEMPTS = 3
FAILURES_IN_A_ROW = 3
"""So many images in a row without a reply mean that the endpoint is down, not the image."""
PACKAGES = ("qsit_ray", "pillow")
Result = TypeVar("Result")


class RemoteRater:
    """A model that a server runs and the profile of its prompt; in use as `Rater` is.

    Only the images, the questions and the log-probabilities travel: a score (Eq. 4-5) is computed
    here. What else a score depends on is the server's: its weights, precision and resizing.
    """

    def __init__(self, endpoint: Endpoint, profile: Profile, tokens: Sequence[int] | None):
        """`tokens`: the level words' numbers in the server's tokenizer; None where the server
        does not tell them, and words are known by their text."""
        self.endpoint, self.profile, self.tokens = endpoint, profile, tokens

    @classmethod
    def load(cls, url: str, model: str, profile: str | None = None) -> RemoteRater:
        """The `model` of the server at `url`, like http://host:8000/v1. A key, if the server needs
        one, is read from the environment variable QSIT_MODEL_KEY. `profile` is a name, or the
        profile.json of a model that has one; by default that of the folder `model`, if it is one
        here, or else paper.

        Where the server has vLLM's /tokenize, its tokenizer and its chat template are tested.
        Raises InputError for a server that can't be reached or refuses, for a tokenizer that can't
        tell the level words apart, for a chat template that writes another prompt than the
        profile's, and without the package `openai`.
        """
        found = _profile(profile, model)
        endpoint = Endpoint(ROLE, url, model, concurrency=CALLS)
        # A wrong address is told soon.
        with _connected(replace(endpoint, attempts=FIRST_ATTEMPTS)) as connection:
            return cls(endpoint, found, _level_tokens(connection, found))

    def score(self, image: Source) -> Score:
        """The score of one image. Raises InputError naming it where it can't be read, or the server
        refuses it."""
        (found,) = self.scores([image])
        if isinstance(found, Reject):
            raise InputError(found.reason)
        return found

    def scores(self, images: Iterable[Source]) -> Iterator[Score | Reject]:
        """Of each image, in order, its score, or why there is none. Any number of images may come.

        Until one has a score they are asked one by one, so that an endpoint that can't score is
        asked few times. Raises InputError where it gives no log-probabilities, refuses the first
        three images, or does not reply to three in a row.
        """
        from qsit_ray.chat import RequestRefused

        with _connected(self.endpoint) as connection:
            gate = asyncio.Semaphore(self.endpoint.concurrency)
            waiting: deque[tuple[str, Future[Score | Reject]]] = deque()
            given, failures, refusals = enumerate(images, 1), 0, 0
            most = 1
            while True:
                while len(waiting) < most and (item := next(given, None)) is not None:
                    number, source = item
                    name = name_of(source, number)
                    # What its giver may change is encoded before the next one is asked for.
                    url = partial(_url, source, name)
                    opened = url if is_kept(source) else _now(url)
                    begun = connection.begin(self._scored(connection.chat, gate, name, opened))
                    waiting.append((name, begun))
                if not waiting:
                    return
                name, begun = waiting.popleft()
                try:
                    found = begun.result()
                    failures = 0
                except connection.no_reply as error:
                    failures += 1
                    if failures == FAILURES_IN_A_ROW:
                        reason = f"{failures} images in a row got no reply from the {ROLE}"
                        raise InputError(f"{reason}: {error}") from None
                    found = Reject(name, f"{name}: no reply: {error}", transient=True)
                except RequestRefused as error:
                    refusals += 1
                    # Before the first score all of them are of the model, not of an image.
                    if most == 1 and refusals == FAILURES_IN_A_ROW:
                        reason = f"the {ROLE} refuses every image"
                        raise InputError(f"{reason}; the last, {name}: {error}") from None
                    found = Reject(name, f"{name}: {error}")
                if isinstance(found, Score):
                    most = AHEAD * self.endpoint.concurrency
                yield found

    async def _scored(
        self, chat: Chat, gate: asyncio.Semaphore, name: str, url: Callable[[], str]
    ) -> Score | Reject:
        async with gate:
            try:
                sent = await asyncio.to_thread(url)
            except InputError as error:
                return Reject(name, str(error), isinstance(error, Unreachable))
            turns = [
                messages.user(self.profile.question, sent),
                messages.assistant(self.profile.stem),
            ]
            body = await chat.reply(turns, **messages.score_settings(self.tokens))
        try:
            logprobs = messages.level_logprobs(body, self.profile, self.tokens)
            return score_of(name, logprobs, self.profile)
        except LookupError as error:
            raise InputError(f"the {ROLE} can't score: {error}") from None
        except InputError as error:
            return Reject(name, f"{name}: {error}")

    def view(self, image: Source) -> RemoteView:
        """The image, encoded once for any number of questions. Raises InputError naming it where it
        can't be read."""
        name = name_of(image, 1)
        return RemoteView(self, name, _url(image, name))

    def ask(self, image: Source, question: str, most_tokens: int = MOST_TOKENS) -> Reply:
        """The answer to a question, of at most `most_tokens` tokens; the likeliest token each time.
        Errors as `view`, and where the server refuses or does not reply."""
        return self.view(image).ask(question, most_tokens)

    def choose(self, image: Source, question: str, candidates: Sequence[str]) -> Choice:
        """The likeliest of the candidates. Errors as `ask`, and for fewer than two different
        candidates."""
        return self.view(image).choose(question, candidates)

    def describe(self, image: Source, most_tokens: int = MOST_TOKENS) -> Reply:
        """What the model says of the image's quality. Errors as `ask`."""
        return self.view(image).describe(most_tokens)

    @property
    def conditions(self) -> dict[str, Any]:
        """What a score depends on beside the image, as far as it is known here."""
        return {
            "backend": "vllm",
            "endpoint": self.endpoint.base_url,
            "model": self.endpoint.model,
            "profile": self.profile.name,
            "score_range": list(self.profile.score_range),
            "level_words": "by text" if self.tokens is None else "by token",
            "prompt": "not tested" if self.tokens is None else "tested",
            "precision": "the server's",
            "resize": "the server's",
            "upright_by_exif": True,
            "transparency": "ignored",
            "versions": {name: version(name) for name in PACKAGES},
        }


@dataclass(frozen=True)
class RemoteView:
    """An image as it is sent with every question; the server keeps what it computed of it where
    its prefix cache is on."""

    rater: RemoteRater
    name: str
    url: str

    def ask(self, question: str, most_tokens: int = MOST_TOKENS) -> Reply:
        """As `RemoteRater.ask`."""
        check_most_tokens(most_tokens)
        turn = messages.user(f"{IMAGE}\n{question}", self.url)
        with _connected(self.rater.endpoint) as connection, self._named(connection):
            body = connection.result(
                connection.chat.reply([turn], **messages.GREEDY, max_tokens=most_tokens)
            )
            text = completion(body).text
        counted = messages.usage(body)
        return Reply(self.name, question, text.strip(), messages.is_whole(body), *counted)

    def choose(self, question: str, candidates: Sequence[str]) -> Choice:
        """The likeliest of the candidates, by the log-likelihoods that vLLM gives of each whole
        answer (`prompt_logprobs`), its end-of-turn token included. Errors as `RemoteRater.choose`,
        and for a server that gives none."""
        check_candidates(candidates)
        asked = multiple_choice_prompt(question, candidates, self.rater.profile.choice)
        turn = messages.user(asked, self.url)
        with _connected(self.rater.endpoint) as connection, self._named(connection):
            after = AFTER if self.rater.profile.chat is None else ""
            begun = [
                connection.begin(_logprob(connection.chat, turn, candidate, after))
                for candidate in candidates
            ]
            try:
                found = np.array([each.result() for each in begun])
            except LookupError as error:
                raise InputError(f"the {ROLE} can't choose: {error}") from None
        shares = np.exp(found - found.max())
        return choice_of(self.name, question, candidates, (shares / shares.sum()).tolist())

    def describe(self, most_tokens: int = MOST_TOKENS) -> Reply:
        """As `RemoteRater.describe`."""
        return self.ask(DESCRIBE, most_tokens)

    @contextmanager
    def _named(self, connection: _Connection) -> Iterator[None]:
        try:
            yield
        except connection.no_reply as error:
            raise InputError(f"{self.name}: no reply from the {ROLE}: {error}") from None


async def _logprob(chat: Chat, turn: messages.Message, candidate: str, after: str) -> float:
    """Of a candidate with its end-of-turn token, after the user's `turn`; `after`: what the chat
    form writes behind it."""
    answer = await chat.tokens(prompt=answered(candidate))
    behind = await chat.tokens(prompt=after) if after else []
    if answer is None or behind is None:
        raise LookupError("it has no /tokenize")
    turns = [turn, messages.assistant(candidate)]
    body = await chat.reply(turns, **messages.choice_settings())
    return messages.answer_logprob(body, answer, len(behind))


def _url(source: Source, name: str) -> str:
    return messages.data_url(shown(source, name))


def _now(url: Callable[[], str]) -> Callable[[], str]:
    """The same, done already."""
    try:
        known = url()
    except InputError as error:
        reason = error

        def refused() -> str:
            raise reason

        return refused
    return lambda: known


def _profile(name: str | None, model: str) -> Profile:
    if name is None:
        # vLLM serves a folder under its path, so that the folder may be here, too.
        return chosen(None, model) if Path(model).is_dir() else PAPER
    return read(Path(name)) if Path(name).suffix == ".json" else named(name)


def _level_tokens(connection: _Connection, profile: Profile) -> list[int] | None:
    """The level words' tokens; None where the server has no /tokenize. Raises InputError as
    `level_tokens`, and where the server's chat template writes another prompt than the profile's.
    """

    def tokens(**content: Any) -> list[int] | None:
        try:
            return connection.result(connection.chat.tokens(**content))
        except connection.no_reply as error:
            raise InputError(f"no reply from the {ROLE}: {error}") from None

    image = tokens(prompt=IMAGE)
    if image is None:
        return None
    found = level_tokens(
        lambda text, add_special_tokens: {"input_ids": tokens(prompt=text)}, profile
    )
    turns = [
        messages.user(profile.question, messages.data_url(Image.new("RGB", (64, 64)))),
        messages.assistant(profile.stem),
    ]
    # Each part alone, as in training.
    before, stem = (tokens(prompt=text) for text in (messages.prompt_text(profile), profile.stem))
    wanted = [*(before or []), *(stem or [])]
    written = tokens(messages=turns, continue_final_message=True, add_generation_prompt=False)
    if len(image) != 1 or messages.without_repeats(written or [], image[0]) != wanted:
        raise InputError(
            f"the {ROLE}'s server writes another prompt than the profile {profile.name}'s, so its "
            "scores would mean nothing; start it with the chat template of the model's training "
            "(--chat-template), see docs/USE.md"
        )
    return found


class _Connection:
    """A chat whose calls are made from any thread: its loop runs in a thread of its own."""

    def __init__(self, chat: Chat, loop: asyncio.AbstractEventLoop, no_reply: type[Exception]):
        self.chat, self.no_reply = chat, no_reply
        self._loop = loop

    def begin(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def result(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.begin(work).result()


@contextmanager
def _connected(endpoint: Endpoint) -> Iterator[_Connection]:
    """A connection to an endpoint. At its end calls under way are dropped."""
    try:
        from qsit_ray.chat import Chat, NoReply
    except ImportError as error:
        raise InputError(
            f"a server is asked through the package openai: install qsit_ray[vllm] ({error})"
        ) from None
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        connection = _Connection(Chat(endpoint), loop, NoReply)
        connection.result(connection.chat.__aenter__())
        try:
            yield connection
        finally:
            connection.result(_closed(connection.chat))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _closed(chat: Chat) -> None:
    chat.stop("the run has ended")
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await chat.__aexit__(None, None, None)
    await asyncio.get_running_loop().shutdown_default_executor()
