"""pure: runs whose score no other run of the search would predict: a crash written as a number, a
unit that was mistaken."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from qsit_ray.surrogate.coordinates import Floats
from qsit_ray.surrogate.gaussian_process import posterior
from qsit_ray.surrogate.observations import Observations

MOST = 0.2
"""Share of the rows that may be outliers; more are no accident."""
CHANCE = 0.01
"""Probability that a search of normal noise has an outlier."""
LOW, HIGH = 10.0, 100.0
"""Ranges of the other scores by which the only run of a ratio must lie below or above them: a
narrow peak may have one run."""
SUSPECT = 5.0
"""Standard deviations from the scores nearest to it in ratio, below which a row is not tested."""


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

    One row after another is left out, each time the one farthest from the median of its nearest;
    all up to the last that the others make as unlikely as `CHANCE` over all rows are outliers (the
    generalised extreme studentised deviate test of Rosner, 1983: two do not hide each other). Fewer
    than six rows have none.
    """
    rest, found, sure = seen, list[Outlier](), 0
    smaller = [seen]
    while rest.scores.size >= 6 and len(found) < MOST * seen.scores.size:
        at = _suspect(rest)
        if at is None:
            break
        others = _without(rest, at)
        away = _away(others, rest.ratios[at], rest.scores[at])
        found.append(
            Outlier(int(rest.rows[at]), float(rest.ratios[at]), float(rest.scores[at]), away or 0.0)
        )
        rest = others
        smaller.append(rest)
        sure = len(found) if away is not None else sure
    return smaller[sure], sorted(found[:sure], key=lambda each: each.row)


def _suspect(seen: Observations) -> int | None:
    """The row that is farthest from the median of the rows nearest to it in log-ratio, where that
    is far beyond what is usual."""
    x = np.log(seen.ratios)
    near = np.argsort(np.abs(x[:, None] - x), axis=1, kind="stable")[:, :7]
    apart = np.abs(seen.scores - np.median(seen.scores[near], axis=1))
    at = int(np.argmax(apart))
    return at if apart[at] > SUSPECT * 1.4826 * np.median(apart) else None


def _away(others: Observations, ratio: float, score: float) -> float | None:
    """How far a score is from what the others predict, in standard deviations, where that is too
    far for chance; else None."""
    from scipy.special import stdtrit  # lazily: a quarter of a second

    if others.distinct.size < 3:
        return None
    if ratio not in others.distinct:
        least, greatest = _usual(others.scores)
        spread = greatest - least
        below, above = (least - score) / LOW, (score - greatest) / HIGH
        return max(least - score, score - greatest) / spread if max(below, above) > spread else None
    known = posterior(others.ratios, others.scores, others.low, others.high)
    at = int(np.argmin(np.abs(np.log(known.ratios) - np.log(ratio))))
    sd = np.sqrt(known.covariance[at, at] + known.noise**2)
    away = abs(score - known.mean[at]) / max(float(sd), 1e-300)
    rows = others.scores.size
    return float(away) if away > stdtrit(rows - 1, 1 - CHANCE / (2 * (rows + 1))) else None


def _usual(scores: Floats) -> tuple[float, float]:
    """The least and greatest of the scores but for the share `MOST` that is farthest from their
    median, which may be outliers themselves."""
    near = np.argsort(np.abs(scores - np.median(scores)), kind="stable")
    kept = scores[near[: int(np.ceil((1 - MOST) * scores.size))]]
    return float(kept.min()), float(kept.max())


def _without(seen: Observations, at: int) -> Observations:
    kept = np.arange(seen.scores.size) != at
    return replace(seen, ratios=seen.ratios[kept], scores=seen.scores[kept], rows=seen.rows[kept])
