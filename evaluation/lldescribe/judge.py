"""pure: every reply of a judge, in an append-only JSON-lines file, so that none is paid for twice.

One line a reply: key (SHA-256 of judge, prompt and round), what it is about, score (null where the
reply is malformed), the reply itself and its tokens. A reply is written before anything else is
done with it, so a killed run loses only the calls that were under way.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any

import filelock
import httpx2

from qsit_ray.artifacts import digest
from qsit_ray.errors import InputError


@dataclass(frozen=True)
class Reply:
    """What a judge wrote; `score` is None where the rule finds none in it, tokens None where the
    endpoint told no usage.
    """

    score: int | None
    text: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class ReplyLog:
    """The replies to each key, in the order in which they came."""

    def __init__(self, path: Path, stream: IO[bytes], replies: Mapping[str, list[Reply]]):
        self.path = path
        self._stream = stream
        self._replies = defaultdict(list, replies)

    def replies(self, key: str) -> list[Reply]:
        return list(self._replies.get(key, []))

    def append(self, key: str, about: Mapping[str, Any], reply: Reply) -> None:
        """Raises InputError where the file can't be written."""
        line = json.dumps({"key": key, **about, **asdict(reply)}, allow_nan=False) + "\n"
        try:
            self._stream.write(line.encode())
            self._stream.flush()
        except OSError as error:
            raise InputError(f"{self.path}: can't write the reply: {error}") from None
        self._replies[key].append(reply)


@contextmanager
def open_log(path: Path) -> Iterator[ReplyLog]:
    """Open a log, new or old, for this process alone.

    A last line that a killed run left half written is cut off. Raises InputError for any other
    line that is no reply, for a file that can't be written, and where another process holds it.
    """
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
            stack.enter_context(lock.acquire(timeout=0))
            stream = stack.enter_context(path.open("a+b"))
            replies = _read(path, stream)
        except filelock.Timeout:
            raise InputError(f"{path}: another process is writing to this file") from None
        except OSError as error:
            raise InputError(f"{path}: can't read and write it: {error}") from None
        yield ReplyLog(path, stream, replies)


def _read(path: Path, stream: IO[bytes]) -> dict[str, list[Reply]]:
    stream.seek(0)
    content = stream.read()
    whole, tail = content[: content.rfind(b"\n") + 1], content[content.rfind(b"\n") + 1 :]
    replies: dict[str, list[Reply]] = defaultdict(list)
    for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
        try:
            key, reply = _parse(line)
        except (ValueError, KeyError, TypeError) as error:
            wrong = f"not a judge's reply ({type(error).__name__}: {error})"
            raise InputError(f"{path}, line {number}: {wrong}") from None
        replies[key].append(reply)
    if tail:
        # It has no end, so it was being written when its process died. Its call was answered
        # but the answer is not all there: it is the one kind that is asked again.
        stream.truncate(len(whole))
    return replies


def _parse(line: bytes) -> tuple[str, Reply]:
    record = json.loads(line)
    reply = Reply(*(record[name] for name in Reply.__dataclass_fields__))
    if not isinstance(record["key"], str) or not isinstance(reply.text, str):
        raise ValueError("key and text must be texts")
    if reply.score is not None and (type(reply.score) is not int or reply.score not in (0, 1, 2)):
        raise ValueError(f"score {reply.score!r} is not 0, 1, 2 or null")
    for count in (reply.prompt_tokens, reply.completion_tokens):
        if count is not None and (type(count) is not int or count < 0):
            raise ValueError(f"{count!r} is no count of tokens")
    return record["key"], reply


KEY_VARIABLE = "QSIT_JUDGE_KEY"
URL_VARIABLE = "QSIT_JUDGE_URL"
MODEL_VARIABLE = "QSIT_JUDGE_MODEL"


@dataclass(frozen=True)
class Endpoint:
    """Where the judge is and how it may be asked.

    `timeout` is the time for one whole call, seconds; `attempts` calls are made for a reply, and
    `asks` replies taken for one with a score in it; `concurrency` calls are under way at most.
    """

    base_url: str
    model: str
    timeout: float = 120.0
    attempts: int = 8
    asks: int = 3
    concurrency: int = 4

    def __post_init__(self) -> None:
        # The address is not repeated here: what is wrong may be a password in it.
        wanted = f"the judge's base URL ({URL_VARIABLE}) must be like https://host/v1"
        try:
            url = httpx2.URL(self.base_url)
        except (httpx2.InvalidURL, TypeError):
            raise InputError(f"{wanted}; it is no URL") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise InputError(f"{wanted}; it has no http or https, or no host")
        if url.userinfo or url.query or url.fragment:
            raise InputError(f"{wanted}, without user, password, query; a key is {KEY_VARIABLE}'s")
        if not self.model:
            raise InputError(f"the judge's model ({MODEL_VARIABLE}) is empty")
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise InputError(f"timeout {self.timeout} must be a positive number of seconds")
        for name in ("attempts", "asks", "concurrency"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} {getattr(self, name)} must be at least 1")
        _secret()  # a wrong one is told before anything is begun; none is kept here


@dataclass(frozen=True)
class Completion:
    """A reply's text, as it came, and its tokens (None where the endpoint told no usage)."""

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None


class NoReply(Exception):
    """A call that may go better when it is repeated, after `wait` seconds or more."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


class Connection:
    """An open client; `connect` makes it."""

    def __init__(self, endpoint: Endpoint, client: httpx2.AsyncClient, secret: str):
        self._endpoint, self._client, self._secret = endpoint, client, secret

    async def complete(self, prompt: str) -> Completion:
        """One call.

        Raises NoReply for statuses 408, 429 and 5xx, no answer in time, no connection and a body
        that is no chat completion; InputError for any other status.
        """
        body = {"model": self._endpoint.model, "messages": [{"role": "user", "content": prompt}]}
        url = f"{self._endpoint.base_url.rstrip('/')}/chat/completions"
        try:
            # One limit for the whole call: the client's own are for each read, and a server that
            # sends a byte now and then would never meet them.
            async with asyncio.timeout(self._endpoint.timeout):
                response = await self._client.post(url, content=json.dumps(body).encode())
        except TimeoutError:
            raise NoReply(f"no answer within {self._endpoint.timeout:g} s") from None
        except httpx2.HTTPError as error:
            raise NoReply(self.clean(f"{type(error).__name__}: {error}")) from None
        status = response.status_code
        if status in (408, 429) or status >= 500:
            wait = _retry_after(response.headers.get("Retry-After", ""))
            asked = f", wait {wait:g} s" if wait else ""
            raise NoReply(f"status {status}{asked}: {self._said(response)}", wait)
        if not response.is_success:
            known = {401: KEY_VARIABLE, 403: KEY_VARIABLE, 404: "the base URL and the model"}
            hint = "the base URL (it redirects)" if response.is_redirect else known.get(status)
            refusal = f"the judge refused with status {status}: {self._said(response)}"
            raise InputError(f"{refusal}; check {hint}" if hint else refusal)
        try:
            return _completion(response)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise NoReply(f"the body is no chat completion: {self._said(response)}") from None

    def clean(self, text: str) -> str:
        """The text without the key, also as JSON may write it."""
        for form in (self._secret, self._secret.replace("/", "\\/")):
            text = text.replace(form, "***") if form else text
        return text

    def _said(self, response: httpx2.Response) -> str:
        """What a server says, on one line: its error message, or the start of its body."""
        text = response.text
        try:
            error = response.json()["error"]
            text = str(error["message"] if isinstance(error, dict) else error)
        except (ValueError, LookupError, TypeError, RecursionError):
            pass
        # Cleaned first: half a key is one too.
        text = " ".join(self.clean(text).split())
        return text if len(text) <= 200 else text[:200] + " ..."


@asynccontextmanager
async def connect(endpoint: Endpoint) -> AsyncIterator[Connection]:
    """Open a client. Raises InputError where the key in the environment can't be one."""
    secret = _secret()
    headers = {"Content-Type": "application/json"}
    if secret:
        headers["Authorization"] = f"Bearer {secret}"
    limits = httpx2.Limits(max_connections=endpoint.concurrency)
    async with httpx2.AsyncClient(headers=headers, timeout=None, limits=limits) as client:
        yield Connection(endpoint, client, secret)


def _secret() -> str:
    secret = os.environ.get(KEY_VARIABLE, "").strip()
    # A header can't carry anything else, and the library's complaint would print it.
    if not re.fullmatch(r"[!-~]*", secret):
        raise InputError(f"{KEY_VARIABLE} holds blanks or characters that no key has")
    return secret


def _completion(response: httpx2.Response) -> Completion:
    body = response.json()
    message = body["choices"][0]["message"]
    content = message.get("content")
    if isinstance(content, list):  # parts, as some servers send them
        parts = [part for part in content if isinstance(part, dict)]
        content = "".join(str(part.get("text") or "") for part in parts)
    if not isinstance(content, str):
        # A refusal has no content. It is a reply all the same, and paid for.
        content = str(message.get("refusal") or "")
    usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
    return Completion(
        content, _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    )


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _retry_after(value: str) -> float:
    """Seconds that a Retry-After header asks for, as a number or a date; 0 where it says none."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


FIRST_WAIT, LONGEST_BACKOFF = 1.0, 60.0  # seconds
# A server that asks for a longer pause than this (a day's quota is spent) is not waited for.
LONGEST_WAIT = 600.0  # seconds
# So many questions in a row without a reply mean that the endpoint is down, not the question.
FAILURES_IN_A_ROW = 3

Sleep = Callable[[float], Awaitable[None]]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Ask:
    """One question to the judge; `about` tells a reader of the log what it is about."""

    prompt: str
    round: int
    about: Mapping[str, Any] = field(default_factory=dict)

    def key(self, model: str) -> str:
        """What its replies are stored under: the judge, the prompt and the round."""
        return digest([model, self.prompt, self.round])


@dataclass
class Outcome:
    """What one run did: calls sent, those of them without a reply, the replies that came, and why
    some keys are not settled.
    """

    calls: int = 0
    failed: int = 0
    replies: list[Reply] = field(default_factory=list)
    unanswered: dict[str, str] = field(default_factory=dict)


def settled(replies: Sequence[Reply], asks: int) -> bool:
    """Whether a question needs no further asking: it has a score, or was asked `asks` times."""
    return len(replies) >= asks or any(reply.score is not None for reply in replies)


def ask_all(
    endpoint: Endpoint,
    asks: Mapping[str, Ask],
    log: ReplyLog,
    score_of: Callable[[str], int | None],
    *,
    sleep: Sleep = asyncio.sleep,
    progress: Progress = lambda done, total, note: None,
) -> Outcome:
    """Ask what the log does not settle yet; `asks` by their keys.

    Every reply lies in the log, whatever happens. Raises InputError where the endpoint refuses,
    after the calls under way have ended. Questions that got no reply are in the outcome's
    `unanswered`; when three in a row got none, no more are asked.
    """
    run = _Run(endpoint, asks, log, score_of, sleep, progress)
    asyncio.run(run.lanes())
    return run.outcome


class _Run:
    def __init__(
        self,
        endpoint: Endpoint,
        asks: Mapping[str, Ask],
        log: ReplyLog,
        score_of: Callable[[str], int | None],
        sleep: Sleep,
        progress: Progress,
    ):
        self.endpoint, self.asks, self.log = endpoint, asks, log
        self.score_of, self.sleep, self.progress = score_of, sleep, progress
        todo = [key for key in asks if not settled(log.replies(key), endpoint.asks)]
        self.waiting: Iterator[str] = iter(todo)
        self.done = len(asks) - len(todo)
        self.outcome = Outcome()
        self.failures = 0
        self.refusal: InputError | None = None
        self.stopped = ""  # why no more calls are made
        self.pauses: set[asyncio.Future[None]] = set()

    async def lanes(self) -> None:
        async with connect(self.endpoint) as connection, asyncio.TaskGroup() as group:
            for _ in range(self.endpoint.concurrency):
                group.create_task(self._lane(connection))
        if self.refusal is not None:
            raise self.refusal
        for key in self.waiting:
            self.outcome.unanswered[key] = self.stopped

    async def _lane(self, connection: Connection) -> None:
        while not self.stopped and (key := next(self.waiting, None)) is not None:
            try:
                await self._settle(connection, key)
            except InputError as error:
                self.refusal = self.refusal or error
                self._stop("the judge refused another call")
            except NoReply as reason:
                self.outcome.unanswered[key] = str(reason)
                self.failures += 1
                if self.failures >= FAILURES_IN_A_ROW:
                    self._stop(f"not asked: {FAILURES_IN_A_ROW} others in a row got no reply")

    async def _settle(self, connection: Connection, key: str) -> None:
        ask = self.asks[key]
        while not settled(self.log.replies(key), self.endpoint.asks):
            reply = await self._reply(connection, ask.prompt)
            self.log.append(key, {**ask.about, "judge": self.endpoint.model}, reply)
            self.outcome.replies.append(reply)
            self.failures = 0
        self.done += 1
        self.progress(self.done, len(self.asks), "")

    async def _reply(self, connection: Connection, prompt: str) -> Reply:
        attempt = 0
        while not self.stopped:
            attempt += 1
            self.outcome.calls += 1
            try:
                found = await connection.complete(prompt)
            except InputError:
                self.outcome.failed += 1
                raise
            except NoReply as reason:
                self.outcome.failed += 1
                if attempt == self.endpoint.attempts or reason.wait > LONGEST_WAIT:
                    raise
                self.progress(self.done, len(self.asks), f"will call again: {reason}"[:80])
                await self._pause(attempt, reason.wait)
            else:
                # The score is read before the text is cleaned: a key as short as "2" would
                # otherwise blank it.
                score, text = self.score_of(found.text), connection.clean(found.text)
                return Reply(score, text, found.prompt_tokens, found.completion_tokens)
        raise NoReply(self.stopped)

    async def _pause(self, attempt: int, asked: float) -> None:
        # Random, so that lanes which were turned away together don't come back together.
        backoff = min(LONGEST_BACKOFF, FIRST_WAIT * 2 ** (attempt - 1)) * random.uniform(0.5, 1)
        pause = asyncio.ensure_future(self.sleep(max(backoff, asked * random.uniform(1, 1.1))))
        self.pauses.add(pause)
        await asyncio.wait([pause])
        self.pauses.discard(pause)
        if not pause.cancelled():
            pause.result()

    def _stop(self, reason: str) -> None:
        """No new calls: those under way are paid for and may end, pauses are cut short."""
        self.stopped = self.stopped or reason
        for pause in self.pauses:
            pause.cancel()
