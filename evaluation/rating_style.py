"""pure: the rating style of free answers about an image: adjectives or numbers (Table I).

An answer is *qualitative* if it has one of the words below as a word of its own, in any case:

- the five levels: bad, poor, fair, good, excellent;
- similar words: terrible, awful, horrible, dreadful, inferior, mediocre, average, moderate,
  acceptable, decent, satisfactory, great, superb, outstanding, exceptional, perfect;
- low, medium and high, where they rate the whole image: before "quality", "rating" or "score", or
  last before punctuation or the end ("the quality is very low"), but not in "high contrast".

Adverbs (fairly), comparatives (better) and compounds (good-looking) don't count; "not good" does.

It is *numeric* if it has a number as a word of its own, regardless of its meaning: "7", "7.5/10",
"7-8", "80%", "3 out of 5", or a number word before "out of". Numbers inside names ("4K", "f/2.8",
"16:9") and the marks of a list ("1. … 2. …") don't count.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qsit_ray.errors import InputError
from qsit_ray.evaluation.intervals import Interval, check_confidence
from qsit_ray.levels import LEVELS

SIMILAR = (
    *("terrible", "awful", "horrible", "dreadful", "inferior", "mediocre", "average", "moderate"),
    *("acceptable", "decent", "satisfactory", "great", "superb", "outstanding", "exceptional"),
    "perfect",
)
MAGNITUDES = ("low", "medium", "high")
STYLES = ("qualitative", "numeric", "both", "neither")

_ADJECTIVE = re.compile(
    rf"(?<![\w-])(?:({'|'.join(LEVELS + SIMILAR)})(?!\w|-(?!quality)\w)"
    rf"|({'|'.join(MAGNITUDES)})(?=[\s-]+(?:quality|rating|score)\b|\s*(?:[.,;:!?)\"'\n]|$)))"
)
_BETWEEN = re.compile(r"[\s()\[\]{}\"'*_`;!?]+|[:=](?!\d)|(?<!\d)[:=]")
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)*%?(?:[/–-]\d+(?:[.,]\d+)*%?)?")
_NUMBER_WORD = re.compile(
    r"\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten)(?:\s+\w+)?\s+out\s+of\b"
)
_LIST_MARK = re.compile(r"^\s*(\d{1,2})[.)]\s+(?=\S)", re.MULTILINE)


@dataclass(frozen=True)
class RatingStyle:
    """Table I's figures among the answers that are not missing.

    `missing_rows` are null or blank, from 1. `counts` by style: `qualitative` and `numeric` include
    the answers that are `both`. `intervals`: Wilson's, of each style's share; None without answers.
    `words`: {adjective: answers with it}.
    """

    rows: int
    missing_rows: list[int]
    counts: dict[str, int]
    intervals: dict[str, Interval | None]
    confidence: float
    words: dict[str, int]

    def share(self, style: str) -> float | None:
        """The share of a style among the answers; None without answers."""
        answered = self.rows - len(self.missing_rows)
        return self.counts[style] / answered if answered else None

    def to_json(self) -> dict[str, object]:
        return {
            "rows": self.rows,
            "missing": len(self.missing_rows),
            "missing_rows": self.missing_rows,
            **{style: self.share(style) for style in STYLES},
            "counts": self.counts,
            "intervals": self.intervals,
            "confidence": self.confidence,
            "words": self.words,
        }


def adjectives(text: str) -> list[str]:
    """The qualitative adjectives of a text, in its order."""
    return [hit[1] or hit[2] for hit in _ADJECTIVE.finditer(_plain(text))]


def has_number(text: str) -> bool:
    """Whether the text has a number as a word of its own."""
    plain = _plain(text)
    if [mark[1] for mark in _LIST_MARK.finditer(plain)][:2] == ["1", "2"]:
        plain = _LIST_MARK.sub("", plain)
    pieces = (piece.strip(".,") for piece in _BETWEEN.split(plain))
    return any(_NUMBER.fullmatch(piece) for piece in pieces) or bool(_NUMBER_WORD.search(plain))


def rating_style(texts: Sequence[str | None], *, confidence: float = 0.95) -> RatingStyle:
    """Table I's figures. Raises InputError, with the row, for an answer that is not a string."""
    check_confidence(confidence)
    counts: Counter[str] = Counter()
    words: Counter[str] = Counter()
    missing = []
    for row, text in enumerate(texts, start=1):
        if text is not None and not isinstance(text, str):
            raise InputError(f"row {row}: expected a string, got {text!r}")
        if not text or not text.strip():
            missing.append(row)
            continue
        used, number = set(adjectives(text)), has_number(text)
        words.update(used)
        counts["qualitative"] += bool(used)
        counts["numeric"] += number
        counts["both"] += bool(used) and number
        counts["neither"] += not used and not number
    answered = len(texts) - len(missing)
    return RatingStyle(
        len(texts),
        missing,
        {style: counts[style] for style in STYLES},
        {style: wilson(counts[style], answered, confidence) for style in STYLES},
        confidence,
        {word: words[word] for word in (*LEVELS, *SIMILAR, *MAGNITUDES) if words[word]},
    )


def wilson(count: int, rows: int, confidence: float) -> Interval | None:
    """Wilson's score interval of a share; unlike a bootstrap's it has a width at 0 and at 1."""
    from scipy.special import ndtri  # the normal quantile, without the slow scipy.stats

    if not rows:
        return None
    z, share = float(ndtri((1 + confidence) / 2)), count / rows
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * np.sqrt(share * (1 - share) / rows + (z / (2 * rows)) ** 2)
    # At the ends the formula gives 0 and 1 except for rounding.
    low = 0.0 if count == 0 else float(middle - half)
    return low, 1.0 if count == rows else float(middle + half)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
