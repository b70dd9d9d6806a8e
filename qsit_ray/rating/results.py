"""pure: what a model says of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsit_ray.errors import InputError
from qsit_ray.levels import level_probabilities
from qsit_ray.prompts import Profile
from qsit_ray.soft_levels import spread

Precision = Literal["fp32", "bf16"]
"""The arithmetic of a model."""
MOST_TOKENS = 512
"""Tokens of an answer, unless another number is given."""


@dataclass(frozen=True)
class Score:
    """An image's score (Eq. 5) in the profile's range, with the probability of each level word
    (Eq. 4), worst first. `std`: standard deviation over the levels, in levels. `entropy`: of the
    levels, in nats. `rank_key`: the value to rank images by; it does not saturate as scores do."""

    image: str
    score: float
    probabilities: dict[str, float]
    std: float
    entropy: float
    rank_key: float

    @property
    def level(self) -> str:
        """The likeliest level word."""
        return max(self.probabilities, key=lambda word: self.probabilities[word])

    def to_row(self) -> dict[str, Any]:
        """One flat row: a column for each level."""
        row = asdict(self)
        del row["probabilities"]
        return {**row, **self.probabilities}


@dataclass(frozen=True)
class Reject:
    """An image that could not be read, and why. `transient`: another try may succeed."""

    image: str
    reason: str
    transient: bool = False


@dataclass(frozen=True)
class Choice:
    """The likeliest of a question's candidates, and the probability of each among them."""

    image: str
    question: str
    answer: str
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Reply:
    """An answer in words. `is_whole`: the model ended it; else it was cut at a length. The tokens
    of the prompt, with the image's, and of the answer are counted where they are known."""

    image: str
    question: str
    text: str
    is_whole: bool
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


def check_most_tokens(most_tokens: int) -> None:
    """Raises InputError for an answer of no tokens."""
    if most_tokens < 1:
        raise InputError(f"{most_tokens} tokens of an answer; at least 1 is needed")


def check_candidates(candidates: Sequence[str]) -> None:
    """Raises InputError for fewer than two different candidates."""
    if not 2 <= len(candidates) == len(set(candidates)):
        raise InputError(f"two or more different candidates are needed: {list(candidates)}")


def choice_of(
    image: str, question: str, candidates: Sequence[str], shares: Sequence[float]
) -> Choice:
    """The likeliest of the candidates, the first of equals; `shares`: the probability of each."""
    best = candidates[int(np.argmax(shares))]
    return Choice(image, question, best, dict(zip(candidates, shares, strict=True)))


def score_of(image: str, logits: ArrayLike, profile: Profile) -> Score:
    """The score of level logits, shape (levels,)."""
    shares: NDArray[np.float64] = level_probabilities(logits)
    sure = shares[shares > 0]
    return Score(
        image=image,
        score=float(profile.score(logits)),
        probabilities=dict(zip(profile.words, shares.tolist(), strict=True)),
        std=float(spread(shares)),
        entropy=max(0.0, -float(sure @ np.log(sure))),
        rank_key=float(profile.rank_key(logits)),
    )
