"""pure: what a service accepts, and what it says when it does not."""

from __future__ import annotations

from dataclasses import dataclass

TOKEN = "QSIT_SERVICE_TOKEN"
"""The environment variable of the token that a service asks for."""


@dataclass(frozen=True)
class Limits:
    """What one request may cost. `requests`: those in progress at once; `held_bytes`: of their
    bodies together, which are in memory until they are answered. `waiting`: images and questions
    that wait for a model. `send_seconds`: until a request has arrived whole; `answer_seconds`:
    until its answer is made."""

    body_bytes: int = 32 * 2**20
    pixels: int = 50_000_000
    images: int = 64
    requests: int = 128
    held_bytes: int = 256 * 2**20
    waiting: int = 256
    send_seconds: float = 30.0
    answer_seconds: float = 120.0


class Refused(Exception):
    """A request that gets no answer: its HTTP status and why."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason

    @property
    def headers(self) -> dict[str, str]:
        """What HTTP says besides: when to try again, how to sign in, that the rest of the body is
        not read."""
        known = {
            401: {"WWW-Authenticate": "Bearer"},
            429: {"Retry-After": "1"},
            503: {"Retry-After": "5"},
        }
        unread = {"Connection": "close"} if self.status in (408, 413) else {}
        return {**known.get(self.status, {}), **unread}

    @property
    def body(self) -> dict[str, object]:
        """In the form that OpenAI's clients read."""
        return {"error": {"message": self.reason, "code": self.status}}


class Busy(Exception):
    """More waits for a model than may."""


class Deadly(Exception):
    """Two models in turn died at a request; it is not given to a third."""


class Away(Exception):
    """No model is there to answer; another one is being started."""
