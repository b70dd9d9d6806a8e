"""pure: the hierarchical bootstrap of a polynomial, the noise of one run, and the F-test."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from qsit_ray.surrogate.coordinates import Floats
from qsit_ray.surrogate.observations import Observations

RESAMPLES = 2000
LEAST_SPARE = 3
"""Rows beyond the coefficients that tell the noise where no ratio is repeated."""
# Weights of all resamples of one chunk stay below this many numbers (64 MB).
_CHUNK_NUMBERS = 8_000_000


def bootstrap(
    u: Floats, y: Floats, group: NDArray[np.intp], degree: int, grid: Floats, seed: int
) -> Floats:
    """Polynomials of `degree` through resampled rows, at the places `grid`: shape
    (RESAMPLES, grid).

    `u`: places of the rows in [-1, 1]; `group`: numbers of their ratios from 0. Ratios are drawn
    with replacement, then repeats within each drawn ratio. Repeats alone would ignore that the
    polynomial is not the true curve, and their intervals would be far too narrow.
    """
    first = np.unique(group, return_index=True)[1]
    basis, curve = chebyshev.chebvander(u[first], degree), chebyshev.chebvander(grid, degree)
    squares = basis[:, :, None] * basis[:, None, :]
    # Rows of a ratio share one u, so the normal equations need only their summed weights and
    # summed scores. reduceat sums runs of rows, which must be in the order of their ratios.
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    drawn = []
    for weights in _row_weights(sizes, degree, np.random.default_rng(seed)):
        gram = np.tensordot(np.add.reduceat(weights, starts, axis=1), squares, axes=1)
        target = np.add.reduceat(weights * y[order], starts, axis=1) @ basis
        # A resample may hold ratios that almost coincide; the pseudo-inverse then gives the
        # smallest curve.
        solved = np.linalg.pinv(gram, rcond=1e-12, hermitian=True) @ target[..., None]
        drawn.append(solved[..., 0] @ curve.T)
    return np.concatenate(drawn)


def _row_weights(
    sizes: NDArray[np.intp], degree: int, rng: np.random.Generator
) -> Iterator[Floats]:
    """Row weights of the resamples, rows by ratio, in chunks of shape (some, rows)."""
    chunk = int(min(RESAMPLES, max(1, _CHUNK_NUMBERS // int(sizes.sum()))))
    done = 0
    while done < RESAMPLES:
        # One bincount over all resamples: each has its own range of ratio numbers.
        picks = rng.integers(sizes.size, size=(chunk, sizes.size))
        flat = picks + np.arange(chunk)[:, None] * sizes.size
        counts = np.bincount(flat.ravel(), minlength=chunk * sizes.size).reshape(chunk, sizes.size)
        # A resample is rejected where it has too few ratios for the curve, or lacks an end of the
        # search: extrapolation there would widen every interval to the whole search.
        whole = (counts[:, 0] > 0) & (counts[:, -1] > 0)
        counts = counts[whole & (np.count_nonzero(counts, axis=1) > degree)][: RESAMPLES - done]
        done += len(counts)
        # A ratio with n rows that was drawn c times draws n rows c times.
        yield np.hstack(
            [rng.multinomial(counts[:, k] * n, np.full(n, 1 / n)) for k, n in enumerate(sizes)]
        ).astype(np.float64)


def orthonormal(u: Floats, degree: int) -> tuple[Floats, float]:
    """An orthonormal basis of the polynomials at `u`, (rows, degree + 1), and its condition."""
    q, r = np.linalg.qr(chebyshev.chebvander(u, degree))
    return q, float(np.linalg.cond(r))


def noise_and_flatness(
    seen: Observations, basis: Floats, confidence: float
) -> tuple[float | None, bool]:
    """Standard deviation of one run, and whether an F-test against a constant finds no effect.

    `basis`: orthonormal, shape (rows, coefficients). Without repeats the noise is estimated from
    the distance to the curve; it is None where rows and coefficients are nearly as many.
    """
    y = seen.scores
    deviation = y - y.mean()
    total = float(deviation @ deviation)
    # Scores that are equal but for rounding count as equal.
    if total <= y.size * (1e-12 * max(1.0, float(np.abs(y).max()))) ** 2:
        return 0.0, True
    spare = y.size - basis.shape[1]
    if spare == 0 or (spare < LEAST_SPARE and y.size == seen.distinct.size):
        return None, False
    residual = deviation - basis @ (basis.T @ deviation)
    unexplained = float(residual @ residual)
    repeats = y.size - seen.distinct.size
    within = float(np.sum((y - seen.means[seen.group]) ** 2))
    noise = float(np.sqrt(within / repeats if repeats else unexplained / spare))
    effects = basis.shape[1] - 1
    f = ((total - unexplained) / effects) / max(unexplained / spare, 1e-300)
    from scipy.special import fdtrc  # lazily: a quarter of a second

    return noise, bool(fdtrc(effects, spare, max(f, 0.0)) > 1 - confidence)
