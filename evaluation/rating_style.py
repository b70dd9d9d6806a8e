"""pure: how free answers rate an image: with adjectives or with numbers (Table I).

An answer is *qualitative* if it has one of the words below as a word of its own, in any case:

- the five levels: bad, poor, fair, good, excellent;
- their kin: terrible, awful, horrible, dreadful, inferior, mediocre, average, moderate, acceptable,
  decent, satisfactory, great, superb, outstanding, exceptional, perfect;
- low, medium and high, where they speak of a whole: before "quality", "rating" or "score", or last
  before a stop or the end ("the quality is very low"). In "high contrast" they don't count.

Adverbs (fairly), comparatives (better) and compounds (good-looking) don't count; "not good" does.

It is *numeric* if a number stands in it on its own, whatever it counts: "7", "7.5/10", "7-8",
"80%", "3 out of 5", or a number word before "out of". Numbers inside names ("4K", "f/2.8", "16:9")
and the marks of a list ("1. … 2. …") don't count.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluation.intervals import check_confidence
from qsit_ray.errors import InputError

LEVELS = ("bad", "poor", "fair", "good", "excellent")
KIN = (
    *("terrible", "awful", "horrible", "dreadful", "inferior", "mediocre", "average", "moderate"),
    *("acceptable", "decent", "satisfactory", "great", "superb", "outstanding", "exceptional"),
    "perfect",
)
MAGNITUDES = ("low", "medium", "high")
STYLES = ("qualitative", "numeric", "both", "neither")

_ADJECTIVE = re.compile(
    rf"(?<![\w-])(?:({'|'.join(LEVELS + KIN)})(?!\w|-(?!quality)\w)"
    rf"|({'|'.join(MAGNITUDES)})(?=[\s-]+(?:quality|rating|score)\b|\s*(?:[.,;:!?)\"'\n]|$)))"
)
_BETWEEN = re.compile(r"[\s()\[\]{}\"'*_`;!?]+|[:=](?!\d)|(?<!\d)[:=]")
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)*%?(?:[/–-]\d+(?:[.,]\d+)*%?)?")
_NUMBER_WORD = re.compile(
    r"\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten)(?:\s+\w+)?\s+out\s+of\b"
)
_LIST_MARK = re.compile(r"^\s*(\d{1,2})[.)]\s+(?=\S)", re.MULTILINE)


def adjectives(text: str) -> list[str]:
    """The qualitative adjectives of a text, in its order."""
    return [hit[1] or hit[2] for hit in _ADJECTIVE.finditer(_plain(text))]


def has_number(text: str) -> bool:
    """Whether a number stands in the text on its own."""
    plain = _plain(text)
    if [mark[1] for mark in _LIST_MARK.finditer(plain)][:2] == ["1", "2"]:
        plain = _LIST_MARK.sub("", plain)
    pieces = (piece.strip(".,") for piece in _BETWEEN.split(plain))
    return any(_NUMBER.fullmatch(piece) for piece in pieces) or bool(_NUMBER_WORD.search(plain))


def rating_style(texts: Sequence[str | None], *, confidence: float = 0.95) -> dict[str, Any]:
    """Table I's shares among the answers that are there.

    Returns rows, missing and missing_rows (null or blank; the first row is 1), the shares
    qualitative, numeric (each with those that are both), both and neither (null without answers),
    counts of the same, intervals (Wilson's for one share), and words: {adjective: answers with
    it}. Raises InputError, with the row, for an answer that is no text.
    """
    check_confidence(confidence)
    counts: Counter[str] = Counter()
    words: Counter[str] = Counter()
    missing = []
    for row, text in enumerate(texts, start=1):
        if text is not None and not isinstance(text, str):
            raise InputError(f"row {row} (the first is 1): {text!r} is no text")
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
    return {
        "rows": len(texts),
        "missing": len(missing),
        "missing_rows": missing,
        **{style: counts[style] / answered if answered else None for style in STYLES},
        "counts": {style: counts[style] for style in STYLES},
        "intervals": {style: wilson(counts[style], answered, confidence) for style in STYLES},
        "confidence": confidence,
        "words": {word: words[word] for word in (*LEVELS, *KIN, *MAGNITUDES) if words[word]},
    }


def wilson(count: int, rows: int, confidence: float) -> list[float] | None:
    """Wilson's score interval of a share; unlike a bootstrap's it has a width at 0 and at 1."""
    from scipy.special import ndtri  # the normal quantile, without the slow scipy.stats

    if not rows:
        return None
    z, share = float(ndtri((1 + confidence) / 2)), count / rows
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * np.sqrt(share * (1 - share) / rows + (z / (2 * rows)) ** 2)
    # At the ends the formula gives 0 and 1 but for rounding.
    low = 0.0 if count == 0 else float(middle - half)
    return [low, 1.0 if count == rows else float(middle + half)]


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
