"""pure: runs whose score no other run of the search would predict: a crash written as a number, a
unit that was mistaken."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from qsit_ray.surrogate.gaussian_process import posterior
from qsit_ray.surrogate.observations import Observations

MOST = 0.2
"""Share of the rows that may be outliers; more are no accident."""
CHANCE = 0.01
"""Probability that a search of normal noise has an outlier."""
ALONE = 10.0
"""Ranges of all other scores that the only run of a ratio must be away from them: a narrow peak
may have one run."""


@dataclass(frozen=True)
class Outlier:
    """A row, from 1 in its file, whose score is `away` standard deviations from what the others
    predict at its ratio."""

    row: int
    ratio: float
    score: float
    away: float


def without_outliers(seen: Observations) -> tuple[Observations, list[Outlier]]:
    """The observations without their outliers, and these.

    One row after another: that farthest from the others' median within its ratio or, of single
    runs, within the search is left out, and is an outlier where the Gaussian process of all others
    makes it as unlikely as `CHANCE` over all rows. Fewer than six rows have none.
    """
    found: list[Outlier] = []
    rest = seen
    while rest.scores.size >= 6 and len(found) < MOST * seen.scores.size:
        at = _candidate(rest)
        others = _without(rest, at)
        away = _away(others, rest.ratios[at], rest.scores[at])
        if away is None:
            break
        found.append(
            Outlier(int(rest.rows[at]), float(rest.ratios[at]), float(rest.scores[at]), away)
        )
        rest = others
    return rest, sorted(found, key=lambda each: each.row)


def _candidate(seen: Observations) -> int:
    """The row that is farthest from the median of the rows nearest to it in log-ratio."""
    x = np.log(seen.ratios)
    near = np.argsort(np.abs(x[:, None] - x), axis=1, kind="stable")[:, :7]
    return int(np.argmax(np.abs(seen.scores - np.median(seen.scores[near], axis=1))))


def _away(others: Observations, ratio: float, score: float) -> float | None:
    """How far a score is from what the others predict, in standard deviations, where that is too
    far for chance; else None."""
    from scipy.special import stdtrit  # lazily: a quarter of a second

    if others.distinct.size < 3:
        return None
    if ratio not in others.distinct:
        spread = float(np.ptp(others.scores))
        beyond = max(others.scores.min() - score, score - others.scores.max())
        return beyond / spread if spread and beyond > ALONE * spread else None
    known = posterior(others.ratios, others.scores, others.low, others.high)
    at = int(np.argmin(np.abs(np.log(known.ratios) - np.log(ratio))))
    sd = np.sqrt(known.covariance[at, at] + known.noise**2)
    away = abs(score - known.mean[at]) / max(float(sd), 1e-300)
    rows = others.scores.size
    return float(away) if away > stdtrit(rows - 1, 1 - CHANCE / (2 * (rows + 1))) else None


def _without(seen: Observations, at: int) -> Observations:
    kept = np.arange(seen.scores.size) != at
    return replace(seen, ratios=seen.ratios[kept], scores=seen.scores[kept], rows=seen.rows[kept])
