"""pure: an image's opinions as a distribution over the five levels, and what follows from one.

DeQA-Score's construction (You et al. 2025, section 3): the mass that a Gaussian of the MOS and its
deviation has in each level's interval, corrected so that its mean is the MOS. There the correction
is linear, which makes shares negative near the ends of the scale; here it is the exponential tilt,
which has the same mean and keeps every share positive.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsit_ray.levels import LEVEL_WEIGHTS

Shares = NDArray[np.float64]
NUMBERS = np.array(LEVEL_WEIGHTS)
NARROWEST = 0.01
"""Least deviation, in levels: a Gaussian that is narrower has one level's mass or two's."""
MOST_TILT = 2e5
"""More than any tilt that a Gaussian of the least deviation needs."""
TOLERANCE = 1e-3
"""How far from 1 shares that someone wrote down may add up to."""


def on_levels(mos: float, low: float, high: float) -> float:
    """A MOS on the scale of the levels: `low` is 1, `high` 5, and what lies beyond an end is it."""
    return float(np.clip(1 + 4 * (mos - low) / (high - low), 1, 5))


def from_opinion(mos: float, std: float, low: float, high: float) -> Shares:
    """The distribution over the levels, [5], of a MOS with its deviation on a scale from `low` to
    `high`. Its mean is the MOS on the scale of the levels."""
    from scipy.special import log_ndtr, ndtr  # here: a score needs no SciPy

    mean, spread = on_levels(mos, low, high), max(4 * std / (high - low), NARROWEST)
    edges = np.array([-np.inf, 1.5, 2.5, 3.5, 4.5, np.inf])
    above = (edges - mean) / spread
    # In logarithms, from the nearer side: far levels have a mass that a difference would round off.
    from_below = log_ndtr(above)
    from_above = log_ndtr(-above)
    mass = np.where(
        above[1:] <= 0,
        _log_difference(from_below[1:], from_below[:-1]),
        _log_difference(from_above[:-1], from_above[1:]),
    )
    around = (above[:-1] < 0) & (above[1:] > 0)
    mass[around] = np.log(np.diff(ndtr(above))[around])
    return tilted(mass, mean)


def _log_difference(larger: NDArray[np.float64], smaller: NDArray[np.float64]) -> Shares:
    """ln(exp(larger) - exp(smaller))."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = larger + np.log1p(-np.exp(smaller - larger))
    return np.asarray(np.where(np.isnan(found), -np.inf, found))


def tilted(logs: ArrayLike, mean: float) -> Shares:
    """The distribution nearest to exp(`logs`), [5], whose mean is `mean`, from 1 to 5."""
    from scipy.optimize import brentq
    from scipy.special import logsumexp

    if mean <= 1 or mean >= 5:
        return np.asarray(round(mean) == NUMBERS, np.float64)
    mass = np.asarray(logs, np.float64)

    def shares(tilt: float) -> Shares:
        tilted = mass + tilt * (NUMBERS - mean)
        return np.asarray(np.exp(tilted - logsumexp(tilted)))

    def off(tilt: float) -> float:
        return float(shares(tilt) @ NUMBERS - mean)

    return shares(brentq(off, -MOST_TILT, MOST_TILT, xtol=1e-12, rtol=1e-14))


def checked(shares: object) -> list[float]:
    """Shares that someone wrote down, adding up to exactly 1. Raises ValueError for anything but
    five numbers from 0 on that add up to 1."""
    form = "level_probs is not five shares that add up to 1, from bad to excellent"
    if not isinstance(shares, list) or len(shares) != len(NUMBERS):
        raise ValueError(form)
    if not all(type(each) in (int, float) for each in shares):
        raise ValueError(form)
    try:
        found = np.array(shares, np.float64)
    except OverflowError:
        raise ValueError(form) from None
    if not np.isfinite(found).all() or (found < 0).any() or abs(found.sum() - 1) > TOLERANCE:
        raise ValueError(form)
    whole: list[float] = (found / found.sum()).tolist()
    return whole


def spread(shares: ArrayLike) -> NDArray[np.float64]:
    """The standard deviation, in levels, of distributions [..., 5]."""
    of = np.asarray(shares, np.float64)
    mean = of @ NUMBERS
    variance = (of * (NUMBERS - mean[..., None]) ** 2).sum(axis=-1)
    return np.asarray(np.sqrt(variance))
