"""pure: MOS to quality level (Eq. 1), and level logits to a score (Eq. 2, 4, 5).

The released level words are not Eq. 1 with the plain minimum and maximum, so each range has a name
and the closed side of the intervals is explicit. Levels are numbered 1 (bad) to 5 (excellent), Eq.
2; 0 marks a row that is set aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsit_ray.errors import InputError

LEVELS = ("bad", "poor", "fair", "good", "excellent")
LEVEL_WEIGHTS = (1.0, 2.0, 3.0, 4.0, 5.0)

Boundary = Literal["right", "left"]

RANGE_FORMS = "dataset, trimmed:FRACTION, explicit:LOW:HIGH, koniq-release or spaq-release"

# Lower end, upper end and closed side of the released labels. KonIQ's ends come from all 10,073 MOS
# without the extremes and are kept as the release prints them. SPAQ's 94 = 96 - 2 is its maximum
# less its minimum; the release did not subtract the minimum, so images from 94 up had no level.
RELEASED: dict[str, tuple[float, float, Boundary]] = {
    "koniq-release": (6.684874, 85.35625, "right"),
    "spaq-release": (0.0, 94.0, "left"),
}
SPAQ_EDGES = np.arange(1, 5) * (94 / 5)


@dataclass(frozen=True)
class Range:
    """The rule for the lower end m and the upper end M of Eq. 1.

    `name` is one of dataset (minimum and maximum of the rows), trimmed (the same without the lowest
    and the highest floor(fraction * rows) rows), explicit (given), koniq-release, spaq-release (the
    constants of Q-SIT's released labels).
    """

    name: str
    fraction: float = 0.0
    low: float | None = None
    high: float | None = None

    @classmethod
    def parse(cls, text: str) -> Range:
        """Read `dataset`, `trimmed:0.01`, `explicit:0:100`, `koniq-release` or `spaq-release`.

        Raises InputError that quotes the text and names the forms.
        """
        name, *parts = text.strip().split(":")
        try:
            numbers = [float(part) for part in parts]
        except ValueError:
            raise InputError(
                f"range {text!r}: expected numbers, got {':'.join(parts)!r}; write {RANGE_FORMS}"
            ) from None
        match name, numbers:
            case "dataset", []:
                return cls(name)
            case "koniq-release" | "spaq-release", []:
                return cls(name, 0.0, *RELEASED[name][:2])
            case "trimmed", [fraction]:
                if 0 <= fraction < 0.5:
                    return cls(name, fraction)
                needed = "FRACTION, cut from each end, is from 0 to below 0.5"
                raise InputError(f"range {text!r}: {needed}")
            case "explicit", [low, high]:
                if np.isfinite(low) and np.isfinite(high) and low < high:
                    return cls(name, 0.0, low, high)
                raise InputError(f"range {text!r}: LOW must be below HIGH and both finite")
        raise InputError(f"range {text!r} is not known; write {RANGE_FORMS}")

    def ends(self, mos: ArrayLike) -> tuple[float, float]:
        """The range's (low, high) for these MOS. Raises InputError where low is not below high."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        values = np.sort(np.asarray(mos, dtype=np.float64))
        dropped = int(self.fraction * values.size)
        kept = values[dropped : values.size - dropped]
        if kept.size == 0 or not kept[0] < kept[-1]:
            found = "no rows" if kept.size == 0 else f"every MOS equal to {kept[0]:g}"
            raise InputError(
                f"range {self.name}: {found}; two different MOS, or explicit:LOW:HIGH, are needed"
            )
        return float(kept[0]), float(kept[-1])


@dataclass(frozen=True)
class Conversion:
    """Levels of a table of MOS, and the range and side that they follow.

    `levels`: int8, shape (rows,), 1..5, or 0 for a row set aside. `clipped`: rows outside [low,
    high], which have the end level. `rejected`: rows set aside (spaq-release, MOS of 94 and more).
    """

    levels: NDArray[np.int8]
    low: float
    high: float
    boundary: Boundary
    clipped: int
    rejected: int

    def words(self, of: Sequence[str] = LEVELS) -> list[str | None]:
        """The level word of each row, one of these, worst first; None for a row set aside."""
        names = (None, *of)
        return [names[level] for level in self.levels]

    def counts(self, of: Sequence[str] = LEVELS) -> dict[str, int]:
        """Rows of each level by its word, the worst first."""
        found = np.bincount(self.levels, minlength=6)
        return {word: int(found[i]) for i, word in enumerate(of, start=1)}


def inner_edges(low: float, high: float) -> NDArray[np.float64]:
    """The four inner edges m + i/5 (M - m), i = 1..4, of Eq. 1; shape (4,).

    Each is computed exactly from the decimals of low and high and rounded once, so that a MOS
    written as 3.4 is on the edge 3.4 of the range 1 to 5. Floating-point steps would put that edge
    at 3.4000000000000004.
    """
    m, span = Fraction(repr(float(low))), Fraction(repr(float(high))) - Fraction(repr(float(low)))
    return np.array([float(m + Fraction(i, 5) * span) for i in range(1, 5)])


def mos_to_levels(
    mos: ArrayLike,
    range_: Range,
    boundary: Boundary | None = None,
    lower_better: bool = False,
) -> Conversion:
    """Eq. 1: the level number of each MOS. `mos`: shape (rows,), on the scale of the range.

    `boundary` "right" makes the intervals (a, b], as Eq. 1; "left" makes them [a, b). By default
    the released ranges use their own side and all others "right". A MOS at or beyond an end takes
    the end level, so m itself, which Eq. 1 leaves out, is bad. `lower_better`: the values are DMOS,
    whose least is excellent; the levels are those of the values mirrored at the range's middle.
    Raises InputError for MOS that are missing or not finite (with their rows, from 1), for a range
    whose fifths floating-point numbers can't tell apart, and for a released range with another
    side than its labels' or as DMOS.
    """
    values = np.atleast_1d(np.asarray(mos, dtype=np.float64))
    if values.ndim != 1:
        raise InputError(f"MOS must be one column, found an array of shape {values.shape}")
    wrong = np.flatnonzero(~np.isfinite(values)) + 1
    if wrong.size:
        listed = ", ".join(map(str, wrong[:5])) + (", ..." if wrong.size > 5 else "")
        raise InputError(f"MOS is missing or not finite in {wrong.size} rows: row {listed}")
    released = RELEASED[range_.name][2] if range_.name in RELEASED else None
    side = boundary or released or "right"
    if side not in ("right", "left"):
        raise InputError(
            f"boundary {side!r} is not known; write right for (a, b] or left for [a, b)"
        )
    if released and lower_better:
        raise InputError(f"range {range_.name} is of MOS, not of DMOS; write explicit:LOW:HIGH")
    low, high = range_.ends(values)
    if released and side != released:
        raise InputError(
            f"range {range_.name} is {released}-closed in the release; "
            f"for {side}-closed levels write explicit:{low:g}:{high:g}"
        )
    # The release's own float64 order: 3 * 94 / 5 would put 56.4 on the edge and change three
    # labels.
    edges = SPAQ_EDGES if range_.name == "spaq-release" else inner_edges(low, high)
    if not (np.diff([low, *edges, high]) > 0).all():
        raise InputError(f"range {range_.name}: {low!r} to {high!r} is too narrow for five levels")
    # What is right-closed in the mirrored values is left-closed in the values themselves.
    closed_right = (side == "right") != lower_better
    levels = (np.searchsorted(edges, values, side="left" if closed_right else "right") + 1).astype(
        np.int8
    )
    if lower_better:
        levels = (6 - levels).astype(np.int8)
    aside = values >= high if range_.name == "spaq-release" else np.zeros(values.shape, dtype=bool)
    levels[aside] = 0
    clipped = int(np.count_nonzero(((values < low) | (values > high)) & ~aside))
    return Conversion(levels, low, high, side, clipped, int(np.count_nonzero(aside)))


def level_numbers(words: list[str]) -> NDArray[np.int8]:
    """Eq. 2 for released labels: bad 1 .. excellent 5, shape (rows,).

    Raises InputError with the row, from 1, of an unknown word.
    """
    number = {word: i for i, word in enumerate(LEVELS, start=1)}
    try:
        return np.array([number[word] for word in words], dtype=np.int8)
    except KeyError as error:
        row = words.index(error.args[0]) + 1
        raise InputError(
            f"level {error.args[0]!r} in row {row} is not one of {', '.join(LEVELS)}"
        ) from None


def level_probabilities(logits: ArrayLike) -> NDArray[np.float64]:
    """Eq. 4: softmax over the level logits alone. Shape (..., levels) in and out, float64.

    Logits that differ by a constant give bit-equal results: the largest is subtracted first, which
    is exact for half precision. Raises InputError with the row, from 1, of logits that are not
    finite.
    """
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise InputError(f"level logits need a last axis of levels, found shape {values.shape}")
    if not np.isfinite(values).all():
        row = 1 + int(np.argwhere(~np.isfinite(values))[0][0]) if values.ndim > 1 else 1
        raise InputError(f"level logits are missing or not finite in row {row}")
    raised = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def expected_score(logits: ArrayLike, weights: ArrayLike = LEVEL_WEIGHTS) -> NDArray[np.float64]:
    """Eq. 5: sum of weight times probability; in [1, 5] with the paper's weights.

    `logits`: shape (..., levels) in the order of `weights` (bad to excellent by default); result
    shape (...). Raises InputError where the two lengths differ.
    """
    probabilities = level_probabilities(logits)
    factors = np.asarray(weights, dtype=np.float64)
    if factors.shape != probabilities.shape[-1:]:
        raise InputError(
            f"{probabilities.shape[-1]} level logits a row, but {factors.size} weights"
        )
    # A sum in a fixed order: a matrix product may add in another order on another machine, and so
    # break ties.
    score = probabilities[..., 0] * factors[0]
    for i in range(1, factors.size):
        score = score + probabilities[..., i] * factors[i]
    # Rounding may leave the range by one unit in the last place.
    return np.asarray(np.clip(score, factors.min(), factors.max()))


def two_level_margin(good: ArrayLike, poor: ArrayLike) -> NDArray[np.float64]:
    """Logit margin good - poor: ranks rows as the two-level score does, without exp's rounding."""
    return np.asarray(np.asarray(good, dtype=np.float64) - np.asarray(poor, dtype=np.float64))


def two_level_score(
    good: ArrayLike, poor: ArrayLike, temperature: float = 1.0
) -> NDArray[np.float64]:
    """Q-Bench's score: the share of good in the softmax of (good, poor) / temperature, in [0, 1].

    Rank by `two_level_margin`, since the score saturates and ties far from a margin of 0. Raises
    InputError unless the temperature is positive.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise InputError(f"temperature {temperature} must be a positive number")
    margin = two_level_margin(good, poor) / temperature
    small = np.exp(-np.abs(margin))
    return np.asarray(np.where(margin >= 0, 1.0, small) / (1 + small))
