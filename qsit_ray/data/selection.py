"""pure: a selection of images whose MOS are spread as evenly as they allow (paper, Table III)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsit_ray.errors import InputError

BINS = 20
TAIL = 0.015
"""Share of the images at each end that the middle of the scale is taken without: they are too few
to fill their part of it."""
STEEPEST = 60.0
"""Largest tilt of the quotas over the range, in logarithms."""


@dataclass(frozen=True)
class Selection:
    """The chosen rows, in their order, with mean and standard deviation of their MOS.

    `target`: the mean that was aimed at. `bins`: images of each of `BINS` equal parts of the range,
    and `taken` of them. Where a part is taken whole it limits how even the selection can be.
    """

    rows: NDArray[np.intp]
    mean: float
    sd: float
    target: float
    low: float
    high: float
    bins: list[int]
    taken: list[int]

    @property
    def limits(self) -> list[tuple[float, float]]:
        """The parts of the range of which every image is taken."""
        edges = np.linspace(self.low, self.high, BINS + 1)
        whole = [k for k in range(BINS) if self.taken[k] == self.bins[k]]
        return [(float(edges[k]), float(edges[k + 1])) for k in whole]


def select(mos: ArrayLike, count: int, seed: int, mean: float | None = None) -> Selection:
    """Choose `count` rows so that every part of the range has as many as the others, as far as it
    has images, with the mean at `mean`: by default the middle of the range without its tails.

    Each part gives min(images, a·exp(b·middle)): of all quotas with that sum and mean these have
    the greatest entropy. Within a part the rows are drawn by `seed`. Raises InputError for a count
    beyond the number of rows, or scores that are all equal.
    """
    from scipy.optimize import brentq  # here: half a second, and other verbs of labels need none

    values = np.asarray(mos, np.float64)
    low, high = (float(end) for end in (values.min(), values.max()))
    if not 0 < count <= values.size:
        raise InputError(f"--n {count}: expected 1 to {values.size}, the rows of the table")
    if low == high:
        raise InputError(f"every score is {low:g}: there is nothing to spread")
    inner = np.quantile(values, [TAIL, 1 - TAIL])
    target = float(inner.mean()) if mean is None else mean
    of_bin = np.minimum(((values - low) / (high - low) * BINS).astype(int), BINS - 1)
    bins = np.bincount(of_bin, minlength=BINS).astype(float)
    # An empty part takes its middle, so that no quota is without a place.
    middles = low + (np.arange(BINS) + 0.5) / BINS * (high - low)
    centres = np.bincount(of_bin, values, BINS) / np.maximum(bins, 1)
    centres = np.where(bins > 0, centres, middles)
    place = np.clip((centres - low) / (high - low), 0, 1)

    def mean_at(tilt: float) -> float:
        return float(_quotas(bins, place, tilt, count) @ centres) / count

    ends = mean_at(-STEEPEST), mean_at(STEEPEST)
    if not ends[0] < target < ends[1]:
        tilt = -STEEPEST if target <= ends[0] else STEEPEST
    else:
        tilt = float(brentq(lambda t: mean_at(t) - target, -STEEPEST, STEEPEST, xtol=1e-6))
    taken = _whole(_quotas(bins, place, tilt, count), bins, count)
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(of_bin == k))[: taken[k]] for k in range(BINS)]
    rows = np.sort(np.concatenate(drawn))
    chosen = values[rows]
    counts = bins.astype(int).tolist()
    return Selection(
        rows, float(chosen.mean()), float(chosen.std()), target, low, high, counts, taken.tolist()
    )


def _quotas(
    bins: NDArray[np.float64], place: NDArray[np.float64], tilt: float, count: int
) -> NDArray[np.float64]:
    """min(images, a·exp(tilt·place)) of each part, with `a` for which they add up to `count`."""
    logs = tilt * place
    weights = np.exp(logs - logs.max())
    # Parts in the order in which a growing `a` takes them whole.
    order = np.argsort(bins / weights)
    rest = np.cumsum(weights[order][::-1])[::-1]
    left = float(count)
    quotas = np.zeros_like(bins)
    for k, weight in zip(order, rest, strict=True):
        quotas[k] = min(bins[k], left * weights[k] / weight)
        left = max(left - quotas[k], 0.0)
    return quotas


def _whole(quotas: NDArray[np.float64], bins: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Whole quotas of the same sum, none above its part's images: largest remainders go up."""
    whole = np.floor(quotas + 1e-9).astype(np.intp)
    order = np.argsort(-(quotas - whole), kind="stable")
    for k in order:
        whole[k] += min(1, count - whole.sum(), bins[k] - whole[k])
    return whole
