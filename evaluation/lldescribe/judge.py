"""pure: a judge's address, limits and key, and the questions to it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from qsit_ray.artifacts import digest
from qsit_ray.errors import InputError

Progress = Callable[[int, int, str], None]  # questions settled, their number, a note

KEY_VARIABLE = "QSIT_JUDGE_KEY"
# The address is not repeated in messages: its mistake may be a password in it.
URL_FORM = "the judge's base URL (QSIT_JUDGE_URL) must be like https://host/v1"


@dataclass(frozen=True)
class Endpoint:
    """Address and limits of a judge. Raises InputError for a value out of range.

    `timeout`: seconds that one call waits for its answer. `attempts`: calls for one reply. `asks`:
    replies for one with a score. `concurrency`: calls at the same time.
    """

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
            raise InputError(f"{URL_FORM}; it is not a URL") from None
        if not usable:
            raise InputError(f"{URL_FORM}; it has no http or https, or no host")
        if "@" in url.netloc or url.query or url.fragment:
            raise InputError(f"{URL_FORM}, without user, password and query; set {KEY_VARIABLE}")
        if not self.model:
            raise InputError("the judge's model (QSIT_JUDGE_MODEL) is empty")
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise InputError(f"timeout {self.timeout} must be a positive number of seconds")
        for name in ("attempts", "asks", "concurrency"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} {getattr(self, name)} must be at least 1")
        read_key()  # a mistake is reported before the first call; the key is not stored here


def read_key() -> str:
    """The key in the environment, "" without one. Raises InputError where it can't be a key."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    # A header can't carry anything else, and the library's error message would print it.
    if not re.fullmatch(r"[!-~]*", key):
        raise InputError(f"{KEY_VARIABLE} contains spaces or characters that are not in any key")
    return key


@dataclass(frozen=True, order=True)
class Question:
    """One judgement: the prompt to the judge, and the place in the results."""

    image: str
    dimension: str
    round: int
    prompt: str

    @property
    def place(self) -> dict[str, str | int]:
        return {"image": self.image, "dimension": self.dimension, "round": self.round}

    def key(self, model: str) -> str:
        """The key of its replies: SHA-256 of the judge, the prompt and the round."""
        return digest([model, self.prompt, self.round])
