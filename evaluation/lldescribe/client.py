"""pure: asks a judge through the package `openai` what the log does not answer yet.

`openai` repeats failed calls (408, 409, 429, 5xx, no connection, no answer in time), with pauses.
The hooks of the HTTP client under it see every attempt: they count it, and end a stopped run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import openai

from evaluation.lldescribe import judge
from evaluation.lldescribe.judge import Endpoint, Progress, Question
from evaluation.lldescribe.log import Reply, ReplyLog
from evaluation.lldescribe.rubric import read_score
from qsit_ray.errors import InputError

# So many questions in a row without a reply mean that the endpoint is down, not the question.
FAILURES_IN_A_ROW = 3
# The package would send more, some of it from the environment (OPENAI_CUSTOM_HEADERS).
SENT_HEADERS = ("host", "accept", "content-type", "content-length", "user-agent", "accept-encoding")
HINTS = {
    401: f"; check {judge.KEY_VARIABLE}",
    403: f"; check {judge.KEY_VARIABLE}",
    404: "; check the base URL and the model",
}


class NoReply(Exception):
    """A question without a reply after all attempts; a later run may get one."""


def ask_all(
    endpoint: Endpoint, questions: Mapping[str, Question], log: ReplyLog, progress: Progress
) -> Run:
    """Ask the questions, {key: question}, that the log does not settle yet.

    A reply with a score settles a question, and so do `endpoint.asks` replies. Every reply is in
    the log even if the run fails. After three questions in a row without a reply no more are asked.
    Raises InputError where the endpoint refuses, after the calls under way have ended.
    """
    run = Run(endpoint, questions, log, progress)
    asyncio.run(run.ask())
    if run.refusal is not None:
        raise run.refusal
    return run


@dataclass
class Run:
    """The state that the lanes of one run share; each lane asks one question at a time.

    The result: `calls` sent, `replies` received, and the reasons for which keys are `unanswered`.
    """

    endpoint: Endpoint
    questions: Mapping[str, Question]
    log: ReplyLog
    progress: Progress
    key: str = field(default_factory=judge.read_key)
    calls: int = 0
    replies: list[Reply] = field(default_factory=list)
    unanswered: dict[str, str] = field(default_factory=dict)
    waiting: deque[str] = field(default_factory=deque)
    done: int = 0
    failures: int = 0  # in a row
    refusal: InputError | None = None
    stopped: str = ""  # the reason for which no more calls are made
    pausing: set[asyncio.Task[Any] | None] = field(default_factory=set)

    def is_settled(self, key: str) -> bool:
        enough = len(self.log.replies(key)) >= self.endpoint.asks
        return enough or self.log.score(key) is not None

    async def ask(self) -> None:
        todo = [key for key in self.questions if not self.is_settled(key)]
        self.waiting, self.done = deque(todo), len(self.questions) - len(todo)
        # A redirect would carry the key away.
        http = httpx2.AsyncClient(
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=self.endpoint.concurrency),
            event_hooks={"request": [self._before_call], "response": [self._after_call]},
        )
        try:
            client = openai.AsyncOpenAI(
                base_url=self.endpoint.base_url,
                api_key=self.key or "none",  # required, but sent only if there is one
                max_retries=self.endpoint.attempts - 1,
                timeout=self.endpoint.timeout,
                http_client=http,
            )
        except httpx2.InvalidURL:
            raise InputError(f"{judge.URL_FORM}; it is not a URL") from None
        async with client, asyncio.TaskGroup() as lanes:
            for _ in range(self.endpoint.concurrency):
                lanes.create_task(self._lane(client))
        self.unanswered |= dict.fromkeys(self.waiting, self.stopped)

    async def _lane(self, client: openai.AsyncOpenAI) -> None:
        while self.waiting and not self.stopped:
            key = self.waiting.popleft()
            try:
                await self._settle(client, key)
            except InputError as error:
                self.refusal = self.refusal or error
                self._stop("the judge refused another call")
            except NoReply as reason:
                self.unanswered[key] = str(reason)
                self.failures += 1
                if self.failures >= FAILURES_IN_A_ROW:
                    self._stop(f"not asked: {FAILURES_IN_A_ROW} others in a row got no reply")

    async def _settle(self, client: openai.AsyncOpenAI, key: str) -> None:
        question = self.questions[key]
        while not self.is_settled(key):
            found = await self._complete(client, question.prompt)
            # The score is read before the text is cleaned: a key as short as "2" would remove it.
            cleaned = {"score": read_score(found.text), "text": self._clean(found.text)}
            reply = found.model_copy(update=cleaned)
            self.log.append(key, {**question.place, "judge": self.endpoint.model}, reply)
            self.replies.append(reply)
            self.failures = 0
        self.done += 1
        self.progress(self.done, len(self.questions), "")

    async def _complete(self, client: openai.AsyncOpenAI, prompt: str) -> Reply:
        """Raises NoReply where all attempts fail or the run is stopped, and InputError for a status
        that repeating does not change."""
        body = {"model": self.endpoint.model, "messages": [{"role": "user", "content": prompt}]}
        try:
            # A plain response: what servers send differs in details from the package's types.
            response = await client.post("/chat/completions", cast_to=httpx2.Response, body=body)
            return read_completion(response)
        except openai.APIStatusError as error:
            status, message = error.status_code, error.body
            wait = error.response.headers.get("Retry-After")
            if isinstance(error.body, dict):
                message = error.body.get("message", error.body)
            reason = f"status {status}" + (f", Retry-After {wait}" if wait else "")
            reason = self._one_line(f"{reason}: {message}")
            if status in (408, 409, 429) or status >= 500:
                raise NoReply(reason) from None
            hint = HINTS.get(status, "; check the base URL (it redirects)" if status < 400 else "")
            raise InputError(f"the judge refused with {reason}{hint}") from None
        except openai.APIConnectionError as error:
            cause = error.__cause__
            raise NoReply(self._one_line(f"{type(cause).__name__}: {cause}")) from None
        except asyncio.CancelledError:
            if not self.stopped:
                raise
            raise NoReply(self.stopped) from None
        finally:
            self.pausing.discard(asyncio.current_task())

    async def _before_call(self, request: httpx2.Request) -> None:
        self.pausing.discard(asyncio.current_task())
        if self.stopped:
            raise NoReply(self.stopped)
        self.calls += 1
        if (repeated := int(request.headers.get("x-stainless-retry-count", 0))) > 0:
            note = f"attempt {repeated + 1} of {self.endpoint.attempts}"
            self.progress(self.done, len(self.questions), note)
        kept = {name: text for name, text in request.headers.items() if name in SENT_HEADERS}
        if self.key:
            kept["authorization"] = f"Bearer {self.key}"
        request.headers = httpx2.Headers(kept)

    async def _after_call(self, response: httpx2.Response) -> None:
        """Raises HTTPError, so that the call is repeated, where the body takes longer than the time
        limit, and where a success is not a chat completion."""
        try:
            # The library's limit is for each read, not for a body that comes byte by byte.
            async with asyncio.timeout(self.endpoint.timeout):
                await response.aread()
            if response.is_success:
                read_completion(response)
                return
        except TimeoutError:
            reason = f"no answer within {self.endpoint.timeout:g} s"
            raise httpx2.ReadTimeout(reason, request=response.request) from None
        if self.stopped:
            raise NoReply(self.stopped)
        self.pausing.add(asyncio.current_task())

    def _stop(self, reason: str) -> None:
        """Make no new calls and cut pauses short; calls under way may end, they are paid for."""
        self.stopped = self.stopped or reason
        for task in filter(None, self.pausing):
            task.cancel()

    def _one_line(self, text: str) -> str:
        # Cleaned before it is cut: half a key is secret as well.
        text = " ".join(self._clean(text).split())
        return text if len(text) <= 200 else text[:200] + " ..."

    def _clean(self, text: str) -> str:
        """The text without the key, also in the form in which JSON may write it."""
        for form in (self.key, self.key.replace("/", "\\/")):
            text = text.replace(form, "***") if form else text
        return text


def read_completion(response: httpx2.Response) -> Reply:
    """The reply in a response, without its score and with its text unchanged.

    Raises DecodingError where the body is not a chat completion.
    """
    try:
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
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        reason = f"the body is not a chat completion: {response.text}"
        raise httpx2.DecodingError(reason, request=response.request) from None
    counts = {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens")}
    tokens = {name: n if type(n) is int and n >= 0 else None for name, n in counts.items()}
    return Reply(score=None, text=content, **tokens)
