"""pure: one call to an OpenAI-compatible endpoint (POST base_url/chat/completions).

The key comes from the environment variable QSIT_JUDGE_KEY and is put into the request's header and
nowhere else: no configuration, file or message holds it, and where a server repeats it in what it
says, it is blanked out. An endpoint that wants no key (a local vLLM or Ollama) needs no variable.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from qsit_ray.errors import InputError

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
            return _read(response)
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


def _read(response: httpx2.Response) -> Completion:
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
