"""pure: the paper's prompts, the two scoring profiles, and the test of a profile's level tokens.

A checkpoint scores well only with the prompt of its training. So the question, the stem before the
level, the level words, their weights and the rule for their tokens are one value, a `Profile`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsit_ray.errors import InputError
from qsit_ray.levels import LEVEL_WEIGHTS, LEVELS, expected_score

SCORING_QUESTION = (
    "Assume you are an image quality evaluator. "
    "How would you rate the quality of this image?\n<image>"
)
"""The paper's one scoring question (section III-C)."""

LEVEL_STEM = "The quality of the image is"

DESCRIBE = "Describe and evaluate the quality of the image."
"""The question of a description."""


CHOICE = "<image>\n{question}\n{options}\nAnswer with the text of one option."
"""The form of a closed question."""


def multiple_choice_prompt(question: str, candidates: Sequence[str], form: str = CHOICE) -> str:
    """The user turn of a closed question, the same in training rows and in evaluation.

    The options are listed by letter; the reply is the option's text. The image token comes first.
    """
    options = "\n".join(f"{chr(65 + i)}. {c}" for i, c in enumerate(candidates))
    return form.format(question=question, options=options)


CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% set before = loop.previtem %}"
    "{% if not loop.first and (part['type'] == 'image' or before['type'] == 'image')"
    " and not (before['text'] or '').endswith('\n')"
    " and not (part['text'] or '').startswith('\n') %}{{ '\n' }}{% endif %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Qwen's chat form (ChatML) without a system turn, as `qsit_ray.data.encode` writes it: an image
has a line of its own, before or behind the text."""

RANK_DECIMALS = 9


def levels_in(text: str, words: tuple[str, ...]) -> list[str]:
    """The level words of a text in its order, each as it is in `words`, in whatever case. No letter
    or digit touches them, and of two that begin alike it is the longer."""
    known = sorted(words, key=len, reverse=True)
    matches = _pattern(tuple(known)).finditer(text)
    return [known[(match.lastindex or 0) - 1] for match in matches]


@cache
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    each = "|".join(f"({re.escape(word)})" for word in words)
    return re.compile(rf"(?<!\w)(?:{each})(?!\w)", re.IGNORECASE)


@dataclass(frozen=True)
class Profile:
    """A scoring prompt, and the meaning of its level logits.

    `question`: the user's turn, with <image> once. `stem`: the beginning of the answer. `words`:
    the level words, worst first. `weights`: Eq. 2's numbers, rising with the words.

    `in_context`: a word's token is the one after the stem and a space when the whole sentence is
    tokenised, as in training; if False, the word is tokenised alone. A word of several tokens is
    represented by its first.

    `chat`: the text around the question, with {question} in it; None is the form of training rows
    (`qsit_ray.data.encode`). `choice`: the form of a closed question, for
    `multiple_choice_prompt`.

    Raises InputError where words and weights don't match.
    """

    name: str
    question: str
    stem: str
    words: tuple[str, ...]
    weights: tuple[float, ...]
    in_context: bool = True
    chat: str | None = None
    choice: str = CHOICE

    def __post_init__(self) -> None:
        if not 2 <= len(self.words) == len(self.weights) == len(set(self.words)):
            raise InputError(
                f"profile {self.name}: needs two or more different level words with a weight each, "
                f"got {len(self.words)} words and {len(self.weights)} weights"
            )
        if not (np.isfinite(self.weights).all() and (np.diff(self.weights) > 0).all()):
            raise InputError(f"profile {self.name}: weights must rise from the worst word on")

    @property
    def score_range(self) -> tuple[float, float]:
        """The lowest and the highest score."""
        return self.weights[0], self.weights[-1]

    def score(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Eq. 4-5: level logits, shape (..., levels), to scores in `score_range`, shape (...)."""
        return expected_score(logits, self.weights)

    def rank_key(self, logits: ArrayLike) -> NDArray[np.float64]:
        """The value to rank images by: ln((score - low) / (high - score)), shapes as in `score`.

        It orders images as the score does. Computed from the logits in float64, it does not
        saturate near the ends of the score's range; for two levels it is their logit margin. It is
        rounded to 9 decimals, so that images with equal scores in exact arithmetic tie on every
        platform, regardless of the last bit of exp and log.

        Raises InputError for logits that are not finite, or whose number is not that of the levels.
        """
        self.score(logits)
        values = np.asarray(logits, dtype=np.float64)
        values = values - values.max(axis=-1, keepdims=True)
        weights = np.array(self.weights)
        low, high = self.score_range
        with np.errstate(divide="ignore"):
            above, below = np.log(weights - low), np.log(high - weights)
        key = np.logaddexp.reduce(values + above, axis=-1) - np.logaddexp.reduce(
            values + below, axis=-1
        )
        return np.asarray(np.round(key, RANK_DECIMALS))

    def on_five(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Scores stretched to the range 1 to 5: 4x + 1 for the official profile."""
        low, high = self.score_range
        share = (np.asarray(scores, dtype=np.float64) - low) / (high - low)
        return np.asarray(4 * share + 1)


PAPER = Profile("paper", SCORING_QUESTION, LEVEL_STEM, LEVELS, LEVEL_WEIGHTS)
"""Training and inference agree (paper III-C): scores in [1, 5]."""

OFFICIAL = Profile(
    "official",
    # Image, text, and the spaces before the line breaks as the released scripts have them.
    "<image>\nAssume you are an image quality evaluator. \n"
    "Your rating should be chosen from the following five categories: "
    "Excellent, Good, Fair, Poor, and Bad (from high to low). \n"
    "How would you rate the quality of this image?",
    "The quality of this image is ",
    ("Bad", "Poor", "Fair", "Good", "Excellent"),
    (0.0, 0.25, 0.5, 0.75, 1.0),
    in_context=False,
    chat="<|im_start|>user {question}<|im_end|><|im_start|>assistant\n",
)
"""The prompt of the released scripts for the released weights: scores in [0, 1]. docs/SCORING.md
lists the parts of it that are confirmed."""

PROFILES = {profile.name: profile for profile in (PAPER, OFFICIAL)}


def level_tokens(tokenizer: Any, profile: Profile = PAPER) -> list[int]:
    """The token number of each level word, in the order of the words.

    It tests the tokenizer, so call it when a checkpoint is loaded; scoring calls it before it reads
    an image. Raises InputError when two words share their token, since Eq. 4 could not tell them
    apart, when a word has no token of its own, or when the stem's tokens change with the next word.
    """
    found: dict[int, str] = {}
    for word in profile.words:
        token = _first_token(tokenizer, profile, word)
        if token in found:
            raise InputError(
                f"profile {profile.name}: level words {found[token]!r} and {word!r} begin with the "
                f"same token ({token}): their probabilities (Eq. 4) can't be told apart"
            )
        found[token] = word
    return list(found)


def check_alone(tokenizer: Any, profile: Profile) -> None:
    """Raises InputError where an answer has the token of a level word in more places than that of
    its word: the word's place could not be told."""
    tokens = set(level_tokens(tokenizer, profile))
    for word in profile.words:
        answer = tokenizer(f"{profile.stem} {word}.", add_special_tokens=False)["input_ids"]
        if sum(token in tokens for token in answer) != 1:
            raise InputError(
                f"profile {profile.name}: '{profile.stem} {word}.' has the tokens of several level "
                "words"
            )


def _first_token(tokenizer: Any, profile: Profile, word: str) -> int:
    def tokens(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    before = tokens(profile.stem) if profile.in_context else []
    after = tokens(f"{profile.stem} {word}") if profile.in_context else tokens(word)
    if after[: len(before)] != before:
        raise InputError(
            f"profile {profile.name}: level word {word!r}: the tokenizer merges it with the stem "
            "before it"
        )
    unknown = getattr(tokenizer, "unk_token_id", None)
    if len(after) == len(before) or (unknown is not None and after[len(before)] == unknown):
        raise InputError(
            f"profile {profile.name}: level word {word!r} has no token in this tokenizer"
        )
    return after[len(before)]
