"""pure: how scores and closed questions are asked, and the words of the levels."""

from __future__ import annotations

from string import Formatter
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from qsit_ray.config.section import Section
from qsit_ray.levels import LEVEL_WEIGHTS, LEVELS
from qsit_ray.prompts import (
    CHOICE,
    LEVEL_STEM,
    PAPER,
    SCORING_QUESTION,
    Profile,
    levels_in,
)

IMAGE = "<image>"
OWN = "own"
"""The name of a profile that is not the paper's."""
FIELDS = {"question", "options"}
COLUMNS = {"image", "score", "std", "entropy", "rank_key", "reason", "transient"}
"""Of tables of scores, beside one for each level word."""
CHAT = "<|"
"""The beginning of the chat form's own tokens."""


class Prompts(Section):
    """What proxies and primary are asked, as D1 and the questions of the data are worded too."""

    question: str = SCORING_QUESTION
    """The question that images are scored with; `<image>` is its first or its last line."""
    stem: str = LEVEL_STEM
    """The answer up to its level word, which follows after a space."""
    levels: Annotated[tuple[str, str, str, str, str], Field(strict=False)] = LEVELS
    """The words of the five levels, the worst first; they count 1 to 5 (Eq. 2)."""
    choice: str = CHOICE
    """The form of a question with candidates: `<image>` is its first line, `{question}` and
    `{options}` are put in."""

    @field_validator("question", "stem", "choice")
    @classmethod
    def _plain(cls, text: str) -> str:
        if CHAT in text:
            raise ValueError(f"{CHAT} begins a token of the chat form")
        return text

    @field_validator("question")
    @classmethod
    def _one_image(cls, text: str) -> str:
        lines = text.split("\n")
        others = lines[1:] if lines[0] == IMAGE else lines[:-1]
        if text.count(IMAGE) != 1 or IMAGE not in (lines[0], lines[-1]):
            raise ValueError(f"{IMAGE} must be its first or its last line, and once")
        if not "".join(others).strip():
            raise ValueError("no question")
        return text

    @field_validator("stem")
    @classmethod
    def _before_a_space(cls, text: str) -> str:
        if not text or text != text.strip() or IMAGE in text:
            raise ValueError(f"{text!r} is no beginning of an answer, up to a space")
        return text

    @field_validator("levels")
    @classmethod
    def _apart(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            if not word or word != " ".join(word.split()) or IMAGE in word or CHAT in word:
                raise ValueError(f"{word!r} is no level word")
            if word in COLUMNS:
                raise ValueError(f"{word!r} is another column of a table of scores")
        if len({word.lower() for word in words}) < len(words):
            raise ValueError(f"{', '.join(words)}: two are the same word")
        return words

    @field_validator("choice")
    @classmethod
    def _whole(cls, form: str) -> str:
        try:
            put_in = [
                f"{name}{behind or ''}{conversion or ''}"
                for _, name, behind, conversion in Formatter().parse(form)
                if name is not None
            ]
        except ValueError as error:
            raise ValueError(f"{error}; write {{{{ for a brace") from None
        if sorted(put_in) != sorted(FIELDS):
            raise ValueError("{question} and {options} must be in it, each once, and no others")
        if not form.startswith(f"{IMAGE}\n") or form.count(IMAGE) != 1:
            raise ValueError(f"{IMAGE} must be its first line, and once")
        return form

    @model_validator(mode="after")
    def _one_word_an_answer(self) -> Prompts:
        for word in self.levels:
            answer = f"{self.stem} {word}."
            if (found := levels_in(answer, self.levels)) != [word]:
                raise ValueError(f"stem, levels: {answer!r} has the level words {found}, not one")
        return self

    @property
    def profile(self) -> Profile:
        """The same as a scoring profile: the paper's, or one that is named `own`."""
        if self == Prompts():
            return PAPER
        return Profile(
            OWN, self.question, self.stem, self.levels, LEVEL_WEIGHTS, choice=self.choice
        )

    @property
    def inputs(self) -> dict[str, object]:
        """What results depend on: nothing where it is the paper's, as before there was another."""
        return {} if self == Prompts() else {"prompts": self.model_dump(mode="json")}
