"""pure: the hierarchical bootstrap of a polynomial: how its curve varies with the runs drawn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 2000
# Weights of all resamples of one chunk stay below this many numbers (64 MB).
_CHUNK_NUMBERS = 8_000_000


def bootstrap(
    u: Floats, y: Floats, group: NDArray[np.intp], degree: int, grid: Floats, seed: int
) -> Floats:
    """Polynomials of `degree` through resampled rows, at the places `grid`: shape
    (RESAMPLES, grid).

    `u`: places of the rows in [-1, 1]; `group`: numbers of their ratios from 0. Ratios are drawn
    with replacement, then repeats within each drawn ratio. Repeats alone would miss that the curve
    is not the truth, and cover far too little.
    """
    basis, curve = chebyshev.chebvander(u, degree), chebyshev.chebvander(grid, degree)
    drawn = []
    for weights in _weights(group, degree, np.random.default_rng(seed)):
        gram = np.einsum("br,ri,rj->bij", weights, basis, basis, optimize=True)
        target = (weights * y) @ basis
        # A resample may hold ratios that all but coincide; the pseudo-inverse takes the smallest
        # curve there.
        solved = np.linalg.pinv(gram, rcond=1e-12, hermitian=True) @ target[..., None]
        drawn.append(solved[..., 0] @ curve.T)
    return np.concatenate(drawn)


def _weights(group: NDArray[np.intp], degree: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Row weights of the resamples, in chunks of shape (some, rows)."""
    sizes = np.bincount(group)
    chunk = int(min(RESAMPLES, max(1, _CHUNK_NUMBERS // group.size)))
    done = 0
    while done < RESAMPLES:
        picks = rng.integers(sizes.size, size=(chunk, sizes.size))
        flat = picks + np.arange(chunk)[:, None] * sizes.size
        counts = np.bincount(flat.ravel(), minlength=chunk * sizes.size).reshape(chunk, sizes.size)
        # A draw is made again where it has too few ratios for the curve, or lacks an end of the
        # search: extrapolating there would turn every interval into the whole search.
        whole = (counts[:, 0] > 0) & (counts[:, -1] > 0)
        counts = counts[whole & (np.count_nonzero(counts, axis=1) > degree)][: RESAMPLES - done]
        done += len(counts)
        weights = counts[:, group].astype(np.float64)
        for k in np.flatnonzero(sizes > 1):
            share = np.full(sizes[k], 1 / sizes[k])
            weights[:, group == k] = rng.multinomial(counts[:, k] * sizes[k], share)
        yield weights
