"""pure: bootstrap intervals over rows, or over clusters such as the crops of one photograph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsit_ray.errors import InputError

Floats = NDArray[np.float64]
Interval = tuple[float, float]

RESAMPLES = 2000


def check_confidence(confidence: float) -> None:
    """Raises InputError unless the confidence is between 0 and 1."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence {confidence} must be between 0 and 1")


@dataclass(frozen=True)
class Bootstrap:
    """The seed of the resamples and the confidence of percentile intervals.

    Raises InputError unless the confidence is between 0 and 1.
    """

    seed: int = 0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        check_confidence(self.confidence)

    def percentiles(self, values: ArrayLike) -> Interval | None:
        """The middle of resampled values; None where most of them are undefined (NaN)."""
        resampled = np.asarray(values, dtype=np.float64)
        defined = resampled[np.isfinite(resampled)]
        if defined.size < resampled.size / 2 or defined.size == 0:
            return None
        low, high = np.quantile(defined, [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        return float(low), float(high)

    def of_difference(self, resampled: Floats) -> tuple[Interval | None, float | None]:
        """Interval and two-sided p-value of a difference from its resampled values; None of both
        where most are undefined."""
        ends = self.percentiles(resampled)
        if ends is None:
            return None, None
        tail = min(int(np.sum(resampled <= 0)), int(np.sum(resampled >= 0))) + 1
        return ends, min(1.0, 2 * tail / (resampled.size + 1))

    def mean_interval(self, values: ArrayLike, clusters: NDArray[np.intp]) -> Interval | None:
        """Interval of the mean of `values` (rows,), resampling clusters; None below 2 clusters.

        Every cluster enters by its sum and its number of rows only, so the cost of a resample does
        not depend on the number of rows.
        """
        sums = np.bincount(clusters, np.asarray(values, dtype=np.float64))
        sizes = np.bincount(clusters)
        draws = resampled_clusters(sizes.size, self.seed)
        return self.percentiles([sums[drawn].sum() / sizes[drawn].sum() for drawn in draws])


DEFAULT = Bootstrap()


@dataclass(frozen=True)
class Difference:
    """A figure of A and of B, and A - B; None where undefined, with the `reason`.

    `interval`: of the paired bootstrap over rows.
    """

    a: float | None
    b: float | None
    difference: float | None = None
    interval: Interval | None = None
    p_value: float | None = None
    reason: str | None = None


def cluster_numbers(cluster: Sequence[Any] | ArrayLike | None, rows: int) -> NDArray[np.intp]:
    """Clusters as numbers 0, 1, ..., shape (rows,); each row is its own cluster without `cluster`.

    Raises InputError where the number of cluster ids is not the number of rows, or an id is
    missing.
    """
    if cluster is None:
        return np.arange(rows)
    ids = np.asarray(cluster)
    if ids.shape != (rows,):
        raise InputError(f"{ids.size} cluster ids for {rows} rows; each row needs one")
    # Only NaN differs from itself.
    missing = [i for i, name in enumerate(ids.tolist(), 1) if name is None or name != name]  # noqa: PLR0124
    if missing:
        raise InputError(f"the cluster id is missing in row {missing[0]}")
    return np.asarray(np.unique(ids, return_inverse=True)[1], dtype=np.intp)


def resampled_clusters(
    clusters: int, seed: int | np.random.Generator, resamples: int = RESAMPLES, size: int = 0
) -> Iterator[NDArray[np.intp]]:
    """The cluster bootstrap: for each resample the numbers of the drawn clusters, from 0.

    Each resample has shape (size,), by default (clusters,), and is drawn with replacement. Below 2
    clusters there is no variation to measure and nothing is yielded. A generator as `seed`
    continues its stream. The same arguments give the same draws, so values of two models or of two
    dimensions on them are paired.
    """
    if clusters < 2:
        return
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield rng.integers(clusters, size=size or clusters)
