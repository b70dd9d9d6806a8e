"""pure: scores of the same images before and after a change: mean difference, interval, p-value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from evaluation.intervals import DEFAULT, Bootstrap, Floats, Interval

FLIPS = 9_999
"""Random sign flips of a p-value; all flips where they are no more than these."""
LEAST = 6
"""Fewer pairs that differ can't give a p-value below 0.05: 2 / 2^5 = 0.0625."""
_BATCH = 1_000_000  # numbers that are held at once


@dataclass(frozen=True)
class PairedDifference:
    """Scores of A and B over pairs of images, and the mean of B - A.

    `interval`: of the difference, from a bootstrap of pairs; None of a single pair. `p_value`: of
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
    p_value, reason = _p_value(changes, apart.size, bootstrap.seed)
    return PairedDifference(
        pairs=apart.size,
        mean_a=float(before.mean()),
        mean_b=float(after.mean()),
        difference=float(apart.mean()),
        interval=bootstrap.mean_interval(apart, np.arange(apart.size)),
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
    found = stats.permutation_test(
        (changes,),
        lambda values, axis: values.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=FLIPS,
        batch=max(1, _BATCH // changes.size),
        rng=seed,
    )
    return float(found.pvalue), None
