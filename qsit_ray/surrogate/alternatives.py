"""pure: rival curves, judged by how they foretell the scores at a ratio that they have not seen.

For curves that are linear in their coefficients the error with a ratio left out follows from the
full fit: its residual over one less its leverage.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import chebyshev

from qsit_ray.surrogate import gaussian_process
from qsit_ray.surrogate.coordinates import COORDINATES, Coordinate, Floats, Scale
from qsit_ray.surrogate.observations import Observations

PROCESS = "Gaussian process over log"
LAW = "log-linear law over share"
_DEGREES = ("constant", "linear", "quadratic", "cubic", "quartic")
# Exponents t of the law, times a share that spans at most 1; near 0 the law is a straight line.
_STEEP = np.geomspace(0.1, 40, 200)
_EXPONENTS = np.concatenate([-_STEEP[::-1], _STEEP])


def polynomial_name(degree: int, coordinate: Coordinate) -> str:
    """`quartic over ratio`."""
    name = _DEGREES[degree] if degree < len(_DEGREES) else f"degree {degree}"
    return f"{name} over {coordinate}" if degree else name


def left_out_errors(
    seen: Observations, degree: int, coordinate: Coordinate
) -> dict[str, float | None]:
    """Leave-one-ratio-out root mean square error by curve, in units of the score; None where too
    few ratios remain.

    The curves: the polynomial asked for, degrees 0 to 4 in every coordinate, the log-linear mixing
    law c + k exp(t share) (Ye et al., Data Mixing Laws, 2024), and the Gaussian process.
    """
    curves = [(degree, coordinate), (0, coordinate)]
    curves += [(d, c) for d in (1, 2, 3, 4) for c in COORDINATES]
    errors = {polynomial_name(d, c): _polynomial(seen, d, c) for d, c in dict.fromkeys(curves)}
    return errors | {LAW: _law(seen), PROCESS: _process(seen)}


def _polynomial(seen: Observations, degree: int, coordinate: Coordinate) -> float | None:
    if seen.distinct.size < degree + 2:
        return None
    basis = chebyshev.chebvander(
        Scale(coordinate, seen.low, seen.high).units(seen.distinct), degree
    )
    if np.linalg.cond(basis) > 1e10:
        return None
    root = np.sqrt(seen.counts)
    q, _ = np.linalg.qr(root[:, None] * basis)
    means = seen.means - seen.scores.mean()
    residual = means - (q @ (q.T @ (root * means))) / root
    missed, _ = _left_out(seen, residual, np.einsum("ij,ij->i", q, q))
    return float(np.sqrt(missed.sum() / seen.scores.size))


def _law(seen: Observations) -> float | None:
    if seen.distinct.size < 4:
        return None
    share, rows = seen.distinct / (1 + seen.distinct), seen.scores.size
    powers = _EXPONENTS[:, None] * share
    rise = np.exp(powers - powers.max(axis=1, keepdims=True))  # at most 1; k takes it back
    rise -= (rise @ seen.counts / rows)[:, None]
    spread = rise**2 @ seen.counts
    means = seen.means - seen.scores.mean()
    slope = (rise * means) @ seen.counts / spread
    leverage = seen.counts * (1 / rows + rise**2 / spread[:, None])
    missed, rest = _left_out(seen, means - slope[:, None] * rise, leverage)
    # With a ratio left out, the exponent too is chosen without it.
    chosen = np.take_along_axis(missed, np.argmin(rest, axis=0)[None], axis=0)
    return float(np.sqrt(chosen.sum() / rows))


def _process(seen: Observations) -> float | None:
    if seen.distinct.size < 3:
        return None
    errors = gaussian_process.left_out_errors(seen.ratios, seen.scores, seen.low, seen.high)
    return float(np.sqrt(np.mean(errors**2)))


def _left_out(seen: Observations, residual: Floats, leverage: Floats) -> tuple[Floats, Floats]:
    """From a full fit's residuals and leverages by ratio, shape (..., ratios) each: the squared
    errors of a ratio's rows when it is left out, summed; and the other rows' squares then."""
    # A curve that passes through a ratio by force foretells nothing of it.
    error = residual / np.maximum(1 - leverage, 1e-9)
    within = np.bincount(seen.group, (seen.scores - seen.means[seen.group]) ** 2)
    total = np.sum(seen.counts * residual**2, axis=-1, keepdims=True) + within.sum()
    return seen.counts * error**2 + within, total - seen.counts * residual * error - within
