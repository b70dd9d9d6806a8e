"""pure: calls an OpenAI-compatible endpoint, and vLLM's tokenizer, through the package `openai`.

`openai` repeats failed calls (408, 409, 429, 5xx, no connection, no answer in time), with pauses.
The hooks of the HTTP client under it see every attempt: they count it, and end a stopped run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx2
import openai

from qsit_ray.endpoint import Completion, Endpoint, completion
from qsit_ray.errors import InputError

# The package would send more, some of it from the environment (OPENAI_CUSTOM_HEADERS).
SENT_HEADERS = ("host", "accept", "content-type", "content-length", "user-agent", "accept-encoding")


COMPLETIONS = "/chat/completions"
ABSENT = (404, 405, 501)
"""Statuses of a path that a server does not have."""


class RequestRefused(InputError):
    """One request was refused for what it holds, with a status that repeating does not change."""


class NoReply(Exception):
    """A question without a reply after all attempts; a later run may get one."""


class Chat:
    """A connection to an endpoint, shared by the tasks that ask at the same time.

    `calls`: sent so far. `stopped`: the reason for which no more are made, or nothing. `repeated`
    gets the number of each attempt after the first.
    """

    def __init__(
        self, endpoint: Endpoint, repeated: Callable[[int], None] = lambda attempt: None
    ) -> None:
        self.endpoint = endpoint
        self.calls = 0
        self.stopped = ""
        self._repeated = repeated
        self._key = endpoint.read_key()
        self._pausing: set[asyncio.Task[Any] | None] = set()

    async def __aenter__(self) -> Self:
        # A redirect would carry the key away.
        http = httpx2.AsyncClient(
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=self.endpoint.concurrency),
            event_hooks={"request": [self._before_call], "response": [self._after_call]},
        )
        try:
            self._client = openai.AsyncOpenAI(
                base_url=self.endpoint.base_url,
                api_key=self._key or "none",  # required, but sent only if there is one
                max_retries=self.endpoint.attempts - 1,
                timeout=self.endpoint.timeout,
                http_client=http,
            )
        except httpx2.InvalidURL:
            raise InputError(f"{self.endpoint.url_form}; it is not a URL") from None
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()

    async def complete(self, messages: Sequence[Any], **settings: Any) -> Completion:
        """The reply to messages, its text unchanged. Settings and errors as `reply`."""
        return completion(await self.reply(messages, **settings))

    async def reply(self, messages: Sequence[Any], **settings: Any) -> Any:
        """The whole body of the reply to messages, which is a chat completion.

        `settings` go into the request's body. Raises NoReply where all attempts fail or the run is
        stopped, and InputError for a status that repeating does not change.
        """
        body = {"model": self.endpoint.model, "messages": list(messages), **settings}
        with self._errors():
            try:
                return (await self._post(COMPLETIONS, body)).json()
            except openai.APIStatusError as error:
                raise self._refusal(error) from None

    async def tokens(self, **content: Any) -> list[int] | None:
        """The token numbers that vLLM's /tokenize, which stands beside /v1, gives a `prompt` or
        `messages`; None of an endpoint without it. Errors as `reply`."""
        # Special tokens are in the texts that are asked for.
        body = {"model": self.endpoint.model, "add_special_tokens": False, **content}
        root = self.endpoint.base_url.rstrip("/").removesuffix("/v1")
        with self._errors():
            try:
                found = (await self._post(f"{root}/tokenize", body)).json()
            except openai.APIStatusError as error:
                if error.status_code in ABSENT:
                    return None
                raise self._refusal(error) from None
            except ValueError:
                return None
        # Other servers have a /tokenize of other forms.
        tokens = found.get("tokens") if isinstance(found, dict) else None
        if not isinstance(tokens, list) or found.get("count") != len(tokens):
            return None
        return tokens if all(type(token) is int for token in tokens) else None

    async def _post(self, path: str, body: Any) -> httpx2.Response:
        # A plain response: what servers send differs in details from the package's types.
        return await self._client.post(path, cast_to=httpx2.Response, body=body)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except openai.APIConnectionError as error:
            cause = error.__cause__
            raise NoReply(self._one_line(f"{type(cause).__name__}: {cause}")) from None
        except asyncio.CancelledError:
            if not self.stopped:
                raise
            raise NoReply(self.stopped) from None
        finally:
            self._pausing.discard(asyncio.current_task())

    def stop(self, reason: str) -> None:
        """Make no new calls and cut pauses short; calls under way may end, they are paid for."""
        self.stopped = self.stopped or reason
        for task in filter(None, self._pausing):
            task.cancel()

    def clean(self, text: str) -> str:
        """The text without the key, also in the form in which JSON may write it."""
        for form in (self._key, self._key.replace("/", "\\/")):
            text = text.replace(form, "***") if form else text
        return text

    def _refusal(self, error: openai.APIStatusError) -> Exception:
        status, message = error.status_code, error.body
        wait = error.response.headers.get("Retry-After")
        if isinstance(error.body, dict):
            message = error.body.get("message", error.body)
        reason = f"status {status}" + (f", Retry-After {wait}" if wait else "")
        reason = self._one_line(f"{reason}: {message}")
        if status in (408, 409, 429) or status >= 500:
            return NoReply(reason)
        hint = ""
        if status in (401, 403):
            hint = f"; check {self.endpoint.key_variable}"
        elif status == 404:
            hint = "; check the base URL and the model"
        elif status < 400:
            hint = "; check the base URL (it redirects)"
        kind = InputError if hint else RequestRefused
        return kind(f"the {self.endpoint.role} refused with {reason}{hint}")

    async def _before_call(self, request: httpx2.Request) -> None:
        self._pausing.discard(asyncio.current_task())
        if self.stopped:
            raise NoReply(self.stopped)
        self.calls += 1
        if (repeated := int(request.headers.get("x-stainless-retry-count", 0))) > 0:
            self._repeated(repeated + 1)
        kept = {name: text for name, text in request.headers.items() if name in SENT_HEADERS}
        if self._key:
            kept["authorization"] = f"Bearer {self._key}"
        request.headers = httpx2.Headers(kept)

    async def _after_call(self, response: httpx2.Response) -> None:
        """Raises HTTPError, so that the call is repeated, where the body takes longer than the time
        limit, and where a success is not a chat completion."""
        try:
            # The library's limit is for each read, not for a body that comes byte by byte.
            async with asyncio.timeout(self.endpoint.timeout):
                await response.aread()
            if response.is_success:
                if response.request.url.path.endswith(COMPLETIONS):
                    check_completion(response)
                return
        except TimeoutError:
            reason = f"no answer within {self.endpoint.timeout:g} s"
            raise httpx2.ReadTimeout(reason, request=response.request) from None
        if self.stopped:
            raise NoReply(self.stopped)
        self._pausing.add(asyncio.current_task())

    def _one_line(self, text: str) -> str:
        # Cleaned before it is cut: half a key is secret as well.
        text = " ".join(self.clean(text).split())
        return text if len(text) <= 200 else text[:200] + " ..."


def check_completion(response: httpx2.Response) -> None:
    """Raises DecodingError where the body is not a chat completion."""
    try:
        completion(response.json())
    except (ValueError, RecursionError):
        reason = f"the body is not a chat completion: {response.text}"
        raise httpx2.DecodingError(reason, request=response.request) from None
