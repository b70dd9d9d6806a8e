"""pure: the 4-parameter logistic mapping of predictions to MOS, before PLCC and RMSE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

MANY_POINTS = 20_000


def logistic_mapping(truth: ArrayLike, prediction: ArrayLike) -> Floats | None:
    """Predictions mapped to the truth by least squares: b2 + (b1 - b2) / (1 + exp(-(x - b3) /
    |b4|)).

    The usual monotone mapping before PLCC (VQEG). None where either column is constant, or with no
    more than 4 rows, where the mapping would have as many parameters as rows.
    """
    from scipy.optimize import least_squares
    from scipy.special import expit

    y, x = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    if y.size <= 4 or np.ptp(y) == 0 or np.ptp(x) == 0:
        return None
    # In standard units the starts and the step control mean the same for every score range.
    u, v = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    # Rows of equal prediction enter once, by their mean and their number: the same least squares.
    points, inverse, counts = np.unique(u, return_inverse=True, return_counts=True)
    means, roots = np.bincount(inverse, v) / counts, np.sqrt(counts)
    way = 1.0 if u @ v >= 0 else -1.0
    # The second start is nearly a straight line, which is where the best curve lies for linear
    # scores.
    starts = ([way * v.max(), way * v.min(), 0.0, 1.0], [way * 10.0, way * -10.0, 0.0, 5.0])
    if way < 0:
        starts = ([v.min(), v.max(), 0.0, 1.0], starts[1])

    def curve(b: Floats, at: Floats) -> Floats:
        return np.asarray(b[1] + (b[0] - b[1]) * expit((at - b[2]) / b[3]))

    def fit(start: Sequence[float] | Floats, step: int) -> Any:
        at, wanted, root = points[::step], means[::step], roots[::step]

        def miss(b: Floats) -> Floats:
            return root * (curve(b, at) - wanted)

        def slopes(b: Floats) -> Floats:
            s = expit((at - b[2]) / b[3])
            along = (b[0] - b[1]) * s * (1 - s) / b[3]
            columns = [s, 1 - s, -along, -along * (at - b[2]) / b[3]]
            return np.asarray(root[:, None] * np.column_stack(columns))

        bounds = ([-np.inf, -np.inf, -np.inf, 1e-3], [np.inf] * 4)
        return least_squares(miss, start, jac=slopes, bounds=bounds, max_nfev=200)

    # With very many points, every so-manyth finds the way and all of them the end.
    step = -(-points.size // MANY_POINTS)
    best = min((fit(start, step) for start in starts), key=lambda one: float(one.cost)).x
    if step > 1:
        best = fit(best, 1).x
    return np.asarray(curve(best, u) * y.std() + y.mean())
