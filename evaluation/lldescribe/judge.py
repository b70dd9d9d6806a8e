"""pure: the questions to a judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qsit_ray.artifacts import digest

Progress = Callable[[int, int, str], None]  # questions settled, their number, a note


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
