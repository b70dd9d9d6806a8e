"""pure: an OpenAI-compatible endpoint: its address, limits and key, and what is in its replies."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from qsit_ray.errors import InputError


@dataclass(frozen=True)
class Endpoint:
    """Address and limits of an endpoint. Raises InputError for a value out of range.

    `role`: what it serves as, in messages and in the names of environment variables
    (QSIT_<ROLE>_URL, _MODEL, _KEY). `timeout`: seconds that one call waits for its answer.
    `attempts`: calls for one reply. `asks`: replies for one that is valid. `concurrency`: calls at
    the same time.
    """

    role: str
    base_url: str
    model: str
    timeout: float = 120.0
    attempts: int = 8
    asks: int = 3
    concurrency: int = 4

    def __post_init__(self) -> None:
        try:
            url = urlsplit(self.base_url)
            usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:
            raise InputError(f"{self.url_form}; it is not a URL") from None
        if not usable:
            raise InputError(f"{self.url_form}; it has no http or https, or no host")
        if "@" in url.netloc or url.query or url.fragment:
            raise InputError(
                f"{self.url_form}, without user, password and query; set {self.key_variable}"
            )
        if not self.model:
            raise InputError(f"the {self.role}'s model (QSIT_{self.role.upper()}_MODEL) is empty")
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise InputError(f"timeout {self.timeout} must be a positive number of seconds")
        for name in ("attempts", "asks", "concurrency"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} {getattr(self, name)} must be at least 1")
        self.read_key()  # a mistake is reported before the first call; the key is not stored here

    @property
    def key_variable(self) -> str:
        """The environment variable of the key."""
        return f"QSIT_{self.role.upper()}_KEY"

    @property
    def url_form(self) -> str:
        """What an address must be like. It is not repeated in messages: its mistake may be a
        password in it."""
        variable = f"QSIT_{self.role.upper()}_URL"
        return f"the {self.role}'s base URL ({variable}) must be like https://host/v1"

    def read_key(self) -> str:
        """The key in the environment, "" without one. Raises InputError where it can't be a key."""
        key = os.environ.get(self.key_variable, "").strip()
        # A header can't carry anything else, and the library's error message would print it.
        if not re.fullmatch(r"[!-~]*", key):
            raise InputError(
                f"{self.key_variable} contains spaces or characters that are not in any key"
            )
        return key


@dataclass(frozen=True)
class Completion:
    """The text of a reply, and its tokens where they are reported."""

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None


def completion(body: Any) -> Completion:
    """What is in the body of a chat completion. Raises ValueError where it is none."""
    try:
        message = body["choices"][0]["message"]
        content = message.get("content")
        if isinstance(content, list):  # parts, as some servers send them
            parts = [part for part in content if isinstance(part, dict)]
            content = "".join(str(part.get("text") or "") for part in parts)
        if not isinstance(content, str):
            # A refusal has no content. It is a reply all the same, and paid for.
            content = str(message.get("refusal") or "")
        usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
    except (LookupError, TypeError, AttributeError):
        raise ValueError("the body is not a chat completion") from None
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    tokens = [n if type(n) is int and n >= 0 else None for n in counts]
    return Completion(content, *tokens)
