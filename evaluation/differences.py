"""pure: scores of the same images before and after a change: mean difference, interval, p-value."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsit_ray.evaluation.intervals import DEFAULT, Bootstrap, Floats, Interval

FLIPS = 9_999
"""Random sign flips of a p-value; all flips where they are no more than these."""
LEAST = 6
"""Fewer pairs that differ can't give a p-value below 0.05: 2 / 2^5 = 0.0625."""
FEW = 8
"""A bootstrap of fewer pairs has no interval: of five it holds the mean in 85 of 100 cases."""
_BATCH = 4_000_000  # signs that are held at once


@dataclass(frozen=True)
class PairedDifference:
    """Scores of A and B over pairs of images, and the mean of B - A.

    `interval`: of the difference, from a bootstrap of pairs; None below `FEW`. `p_value`: of
    the two-sided sign-flip permutation test of the mean difference; None with the `reason`. The
    shares are those of the pairs in which B's score is lower than A's, higher, or the same.
    """

    pairs: int
    mean_a: float
    mean_b: float
    difference: float
    interval: Interval | None
    p_value: float | None
    reason: str | None
    share_worse: float
    share_better: float
    share_equal: float


def paired_difference(
    a: ArrayLike, b: ArrayLike, rounding: float = 0.0, bootstrap: Bootstrap = DEFAULT
) -> PairedDifference:
    """Compare scores of the same images, both of shape (pairs,), one pair or more.

    Differences of at most `rounding` count as none in the shares and the p-value.

    The test's null hypothesis: A and B could be exchanged in any pair. It is exact whatever the
    distribution, with ties and zeros, which a signed-rank test has to treat apart, and it tests the
    mean that is reported (Good, Permutation, Parametric, and Bootstrap Tests of Hypotheses).
    """
    before, after = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    apart = after - before
    changes = apart[np.abs(apart) > rounding]
    rows = np.arange(apart.size)
    p_value, reason = _p_value(changes, apart.size, bootstrap.seed)
    return PairedDifference(
        pairs=apart.size,
        mean_a=float(before.mean()),
        mean_b=float(after.mean()),
        difference=float(apart.mean()),
        interval=bootstrap.mean_interval(apart, rows) if apart.size >= FEW else None,
        p_value=p_value,
        reason=reason,
        share_worse=float(np.sum(changes < 0) / apart.size),
        share_better=float(np.sum(changes > 0) / apart.size),
        share_equal=(apart.size - changes.size) / apart.size,
    )


def _p_value(changes: Floats, pairs: int, seed: int) -> tuple[float | None, str | None]:
    """The p-value, or why there is none. A pair that does not differ is the same under both signs,
    so it takes no part."""
    if changes.size == 0:
        return None, "no pair differs"
    if changes.size < LEAST:
        return None, f"{changes.size} of {pairs} pairs differ; {LEAST} or more are needed"
    if 2**changes.size <= FLIPS:
        signs = np.array(list(itertools.product((0, 1), repeat=changes.size)))
        return _two_sided(_flipped(changes, signs), changes.sum(), drawn=False), None
    rng, sums, size = np.random.default_rng(seed), [], max(1, _BATCH // changes.size)
    for start in range(0, FLIPS, size):
        signs = rng.integers(0, 2, (min(size, FLIPS - start), changes.size), np.uint8)
        sums.append(_flipped(changes, signs))
    return _two_sided(np.concatenate(sums), changes.sum(), drawn=True), None


def _flipped(changes: Floats, signs: NDArray[Any]) -> Floats:
    """The sum of the changes under each row of signs, where 1 keeps one and 0 turns it."""
    # As numbers: products of integers and numbers do not go through BLAS.
    sums: Floats = 2 * (signs.astype(np.float64) @ changes) - changes.sum()
    return sums


def _two_sided(sums: Floats, found: float, drawn: bool) -> float:
    """Twice the smaller tail. A sum may miss its equal by rounding; of drawn flips the found one
    counts as one more."""
    slack = 1e-12 * max(1.0, float(np.abs(sums).max()))
    tails = [np.sum(sums <= found + slack), np.sum(sums >= found - slack)]
    return float(min(1.0, 2 * (min(tails) + drawn) / (sums.size + drawn)))
