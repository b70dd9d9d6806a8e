"""pure: bootstrap intervals over rows, or over clusters such as the crops of one photograph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsit_ray.errors import InputError

Floats = NDArray[np.float64]


def check_confidence(confidence: float) -> None:
    """Raises InputError unless the confidence lies between 0 and 1."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence {confidence} must lie between 0 and 1")


def cluster_numbers(
    cluster: Sequence[Any] | ArrayLike | None, rows: int, what: str = "cluster"
) -> NDArray[np.intp]:
    """Clusters as numbers 0, 1, ..., shape (rows,); each row is its own without `cluster`.

    Raises InputError where the number of cluster ids is not the number of rows, or an id is
    missing.
    """
    if cluster is None:
        return np.arange(rows)
    ids = np.asarray(cluster)
    if ids.shape != (rows,):
        raise InputError(f"{ids.size} {what} ids for {rows} rows; one a row is needed")
    # Only NaN differs from itself.
    missing = [i for i, name in enumerate(ids.tolist()) if name is None or name != name]  # noqa: PLR0124
    if missing:
        raise InputError(f"the {what} id is missing in row {missing[0]} (first row is 0)")
    return np.asarray(np.unique(ids, return_inverse=True)[1], dtype=np.intp)


def mean_interval(
    values: ArrayLike, clusters: NDArray[np.intp], *, seed: int, confidence: float
) -> tuple[float, float] | None:
    """Percentile interval of the mean of `values` (rows,), resampling clusters; None below 2
    clusters.

    Every cluster enters by its sum and its rows only, so a resample costs no more than the
    clusters.
    """
    sums = np.bincount(clusters, np.asarray(values, dtype=np.float64))
    sizes = np.bincount(clusters)
    if sums.size < 2:
        return None
    rng = np.random.default_rng(seed)
    means = np.empty(2000)
    for i in range(means.size):
        drawn = rng.integers(sums.size, size=sums.size)
        means[i] = sums[drawn].sum() / sizes[drawn].sum()
    return percentiles(means, confidence)


def percentiles(values: Floats, confidence: float) -> tuple[float, float] | None:
    """The middle `confidence` of resampled values; None where most of them are undefined (NaN)."""
    defined = values[np.isfinite(values)]
    if defined.size < values.size / 2 or defined.size == 0:
        return None
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
