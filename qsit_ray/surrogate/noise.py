"""pure: how far one run lies from another, and whether the ratio matters at all."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import chebyshev

from qsit_ray.surrogate.coordinates import Floats
from qsit_ray.surrogate.observations import Observations


def orthonormal(u: Floats, degree: int) -> tuple[Floats, float]:
    """An orthonormal basis of the polynomials at `u`, (rows, degree + 1), and its condition."""
    q, r = np.linalg.qr(chebyshev.chebvander(u, degree))
    return q, float(np.linalg.cond(r))


def noise_and_flatness(
    seen: Observations, basis: Floats, confidence: float
) -> tuple[float | None, bool]:
    """Standard deviation of one run, and whether an F-test against a constant finds no effect."""
    y = seen.scores
    deviation = y - y.mean()
    total = float(deviation @ deviation)
    # Scores that agree to the last digits are equal: what is left is rounding.
    if total <= y.size * (1e-12 * max(1.0, float(np.abs(y).max()))) ** 2:
        return 0.0, True
    spare = y.size - basis.shape[1]
    if spare == 0:
        return None, False
    residual = deviation - basis @ (basis.T @ deviation)
    unexplained = float(residual @ residual)
    repeats = y.size - seen.distinct.size
    # Repeats show the noise itself; without them, the distance from the curve stands in for it.
    within = float(np.sum((y - seen.means[seen.group]) ** 2))
    noise = float(np.sqrt(within / repeats if repeats else unexplained / spare))
    effects = basis.shape[1] - 1
    f = ((total - unexplained) / effects) / max(unexplained / spare, 1e-300)
    from scipy.special import fdtrc  # lazily: a quarter of a second

    return noise, bool(fdtrc(effects, spare, max(f, 0.0)) > 1 - confidence)
