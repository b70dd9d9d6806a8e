"""pure: the tops of many curves at once, each given on the same even grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def tops(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Where curves of shape (curves, grid) are greatest, as indices with fractions, shape
    (curves,), and whether that is an end of the grid.

    Inside, it is the top of the parabola through the greatest value and its neighbours, which is
    far finer than the grid. The grid has three points or more.
    """
    at = np.argmax(values, axis=1)
    end = (at == 0) | (at == values.shape[1] - 1)
    inner = np.clip(at, 1, values.shape[1] - 2)
    rows = np.arange(len(at))
    left, middle, right = (values[rows, inner + step] for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.divide(0.5 * (left - right), bend, out=np.zeros_like(bend), where=bend < 0)
    return np.where(end, at, inner + np.clip(shift, -1, 1)), end
