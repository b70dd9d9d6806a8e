"""pure: calibration of scores: the mean prediction in bins of the MOS, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qsit_ray.errors import InputError
from qsit_ray.evaluation.intervals import DEFAULT, Bootstrap, Interval, cluster_numbers

MOST_BINS = 10
LEAST_ROWS = 5
"""Rows of a bin at the least, where there are as many: a mean of fewer says little."""


@dataclass(frozen=True)
class Bin:
    """Rows of neighbouring MOS: their number, mean MOS, mean prediction and its interval, None
    below two clusters."""

    rows: int
    truth: float
    prediction: float
    interval: Interval | None


def calibration(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    cluster: Sequence[Any] | ArrayLike | None = None,
    bootstrap: Bootstrap = DEFAULT,
) -> list[Bin]:
    """Bins with about the same number of rows, by rising MOS; both inputs of shape (rows,). Rows of
    equal MOS share a bin.

    A calibrated model's means rise with the MOS by equal steps. The bootstrap draws the groups of
    `cluster`, by default rows. Raises InputError where the lengths differ or there are no rows.
    """
    y, x = np.asarray(truth, np.float64), np.asarray(prediction, np.float64)
    if y.shape != x.shape or y.ndim != 1 or y.size == 0:
        raise InputError(f"{y.size} truths and {x.size} predictions; each row needs both")
    clusters = cluster_numbers(cluster, y.size)
    wanted = int(np.clip(y.size // LEAST_ROWS, 1, MOST_BINS))
    edges = np.unique(np.quantile(y, np.linspace(0, 1, wanted + 1)[1:-1]))
    of_row = np.searchsorted(edges, y, side="left")
    found = []
    for number in np.unique(of_row):
        rows = np.flatnonzero(of_row == number)
        within = np.unique(clusters[rows], return_inverse=True)[1]
        interval = bootstrap.mean_interval(x[rows], within)
        found.append(Bin(rows.size, float(y[rows].mean()), float(x[rows].mean()), interval))
    return found
