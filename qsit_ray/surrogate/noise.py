"""pure: noise that differs by ratio, where repeats show it: at one end of a search a pool has few
rows, and trainings on other rows differ more."""

from __future__ import annotations

import numpy as np

from qsit_ray.surrogate.coordinates import Floats
from qsit_ray.surrogate.observations import Observations

STEEPEST = np.log(25.0)
"""Of log-variance from the middle of the search to an end: a standard deviation 25 times as large
at one end as at the other."""
LEAST = 12
"""Rows beyond the first of each ratio below which noise is taken for equal: few tell little."""
_SLOPES = np.linspace(-STEEPEST, STEEPEST, 129)


def relative_variances(seen: Observations) -> Floats | None:
    """Each row's noise variance in units of that in the middle of the search, shape (rows,); None
    where equal noise is the likelier.

    Log-variance is a straight line over log-ratio. Its slope is 0 with half of the prior
    probability, else uniform up to `STEEPEST`; the mean over its posterior, given the variances
    within the ratios that were repeated, is used.
    """
    freedom = seen.counts - 1
    if np.count_nonzero(freedom) < 2 or freedom.sum() < LEAST:
        return None
    squares = np.bincount(seen.group, (seen.scores - seen.means[seen.group]) ** 2)
    if not squares.sum() > 0:
        return None
    log = np.log(seen.distinct)
    place = 2 * (log - log[0]) / (log[-1] - log[0]) - 1
    # The variance in the middle has a scale-free prior and is integrated out.
    explained = np.exp(-_SLOPES[:, None] * place) @ squares
    likelihood = -0.5 * (_SLOPES * (place @ freedom) + freedom.sum() * np.log(explained))
    equal = float(np.interp(0.0, _SLOPES, likelihood))
    top = max(equal, float(likelihood.max()))
    odds, of_equal = np.exp(likelihood - top), float(np.exp(equal - top))
    if odds.mean() <= of_equal:
        return None
    slope = (odds @ _SLOPES) / (odds.sum() + odds.size * of_equal)
    return np.asarray(np.exp(slope * place)[seen.group])
