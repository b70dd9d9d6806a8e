"""pure: SRCC, PLCC, KRCC and RMSE, the logistic mapping before PLCC, and Williams' test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsit_ray.evaluation.intervals import Floats

# The logistic mapping is first fitted to about this many points.
MANY_POINTS = 20_000


def srcc(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Spearman's rank correlation with average ranks for ties; NaN where either is constant."""
    return plcc(average_ranks(value_codes(truth)), average_ranks(value_codes(prediction)))


def plcc(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Pearson's correlation; NaN where either is constant or there are fewer than 2 rows."""
    y, x = _centred(truth), _centred(prediction)
    if y is None or x is None:
        return float("nan")
    # Plain sums: BLAS would start threads for every small product, and add in its own order.
    return float(np.clip((y * x).sum() / np.sqrt((y * y).sum() * (x * x).sum()), -1, 1))


def krcc(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Kendall's tau-b; NaN where either is constant."""
    from scipy.stats import kendalltau  # lazily: scipy.stats is slow to import

    return float(kendalltau(np.asarray(truth, float), np.asarray(prediction, float)).statistic)


def rmse(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Root of the mean squared difference, in units of both."""
    apart = np.asarray(truth, float) - np.asarray(prediction, float)
    scale = _scale(apart)
    return float(np.sqrt(np.mean((apart / scale) ** 2)) * scale)


def mean_over_sets(
    metric: Callable[[Floats, Floats], float],
    truth: ArrayLike,
    prediction: ArrayLike,
    sets: Sequence[str | None] | NDArray[np.str_],
) -> float:
    """Mean of a metric over the data sets that the rows belong to, whose scales may differ (the
    paper's average); NaN where one set's is undefined."""
    y, x, of_set = np.asarray(truth, float), np.asarray(prediction, float), np.asarray(sets, str)
    parts = [np.flatnonzero(of_set == name) for name in np.unique(of_set)]
    return float(np.mean([metric(y[part], x[part]) for part in parts])) if parts else float("nan")


def williams(r_a: float, r_b: float, r_ab: float, rows: int) -> float | None:
    """Two-sided p of Williams' t test that two correlations with the same variable are equal.

    None below 4 rows. Steiger (1980), Psychological Bulletin 87, eq. 7.
    """
    from scipy.special import stdtr  # Student's distribution, without the slow scipy.stats

    if rows < 4:
        return None
    if r_a == r_b:
        return 1.0
    determinant = 1 - r_a**2 - r_b**2 - r_ab**2 + 2 * r_a * r_b * r_ab
    spread = 2 * (rows - 1) / (rows - 3) * determinant + ((r_a + r_b) / 2) ** 2 * (1 - r_ab) ** 3
    if spread <= 0:
        return 0.0
    t = (r_a - r_b) * np.sqrt((rows - 1) * (1 + r_ab) / spread)
    return float(2 * stdtr(rows - 3, -abs(t)))


def value_codes(values: ArrayLike) -> NDArray[np.intp]:
    """Each value's place among the distinct values, from 0."""
    return np.asarray(np.unique(np.asarray(values), return_inverse=True)[1], dtype=np.intp)


def average_ranks(codes: NDArray[np.intp]) -> Floats:
    """Average ranks, from 1, of values given as codes: counting instead of sorting."""
    counts = np.bincount(codes)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[codes])


def _centred(values: ArrayLike) -> Floats | None:
    """Deviations from the mean, the greatest 1, so that no square overflows; None if constant."""
    array = np.asarray(values, dtype=np.float64)
    array = array / _scale(array)
    if array.size < 2 or np.ptp(array) == 0:
        return None
    deviation = array - array.mean()
    return np.asarray(deviation / np.abs(deviation).max())


def _scale(values: Floats) -> float:
    """The power of 2 that brings the greatest value to about 1: dividing by it rounds nothing, and
    no square then overflows or vanishes."""
    greatest = float(np.abs(values).max(initial=0.0))
    return float(2.0 ** np.floor(np.log2(greatest))) if greatest else 1.0


def logistic_mapping(truth: ArrayLike, prediction: ArrayLike) -> Floats | None:
    """Predictions mapped to the truth by least squares: b2 + (b1 - b2) / (1 + exp(-(x - b3) /
    |b4|)).

    The usual monotone mapping before PLCC (VQEG). None where either column is constant, or with
    4 rows or fewer, where the mapping would have as many parameters as rows.
    """
    from scipy.optimize import least_squares
    from scipy.special import expit

    y, x = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    x = x / _scale(x)
    if y.size <= 4 or np.ptp(y) == 0 or np.ptp(x) == 0:
        return None
    # In standard units the starts and the step control mean the same for every score range.
    u, v = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    # Rows of equal prediction enter once, by their mean and their count: the same least squares.
    points, inverse, counts = np.unique(u, return_inverse=True, return_counts=True)
    means, roots = np.bincount(inverse, v) / counts, np.sqrt(counts)
    ends, line = ((v.max(), v.min()), 10.0) if u @ v >= 0 else ((v.min(), v.max()), -10.0)
    # The second start is nearly a straight line, close to the best curve of linear scores.
    starts = ([*ends, 0.0, 1.0], [line, -line, 0.0, 5.0])

    def curve(b: Floats, at: Floats) -> Floats:
        return np.asarray(b[1] + (b[0] - b[1]) * expit((at - b[2]) / b[3]))

    def fit(start: Sequence[float] | Floats, step: int) -> Any:
        at, wanted, root = points[::step], means[::step], roots[::step]

        def residuals(b: Floats) -> Floats:
            return root * (curve(b, at) - wanted)

        def jacobian(b: Floats) -> Floats:
            s = expit((at - b[2]) / b[3])
            along = (b[0] - b[1]) * s * (1 - s) / b[3]
            columns = [s, 1 - s, -along, -along * (at - b[2]) / b[3]]
            return np.asarray(root[:, None] * np.column_stack(columns))

        bounds = ([-np.inf, -np.inf, -np.inf, 1e-3], [np.inf] * 4)
        return least_squares(residuals, start, jac=jacobian, bounds=bounds, max_nfev=200)

    # With very many points, a regular share of them finds the region and all of them the optimum.
    step = -(-points.size // MANY_POINTS)
    best = min((fit(start, step) for start in starts), key=lambda one: float(one.cost)).x
    if step > 1:
        best = fit(best, 1).x
    return np.asarray(curve(best, u) * y.std() + y.mean())
