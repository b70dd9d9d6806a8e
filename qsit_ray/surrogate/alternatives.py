"""pure: alternative curves, compared by their leave-one-ratio-out errors.

For a curve that is linear in its coefficients the error at an omitted ratio follows from the full
fit: its residual over one minus its leverage.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import chebyshev

from qsit_ray.surrogate import gaussian_process
from qsit_ray.surrogate.coordinates import COORDINATES, Coordinate, Floats, Scale
from qsit_ray.surrogate.noise import relative_variances
from qsit_ray.surrogate.observations import Observations

PROCESS = "Gaussian process over log"
INFORMED = "Gaussian process with evidence"
LAW = "log-linear law over share"
_DEGREES = ("constant", "linear", "quadratic", "cubic", "quartic")
# Exponents t of the law, times a share that spans at most 1; near 0 the law is a straight line.
_STEEP = np.geomspace(0.1, 40, 200)
_EXPONENTS = np.concatenate([-_STEEP[::-1], _STEEP])


def polynomial_name(degree: int, coordinate: Coordinate) -> str:
    """`quartic over ratio`."""
    name = _DEGREES[degree] if degree < len(_DEGREES) else f"degree {degree}"
    return f"{name} over {coordinate}" if degree else name


def leave_one_out_errors(
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
    u = Scale(coordinate, seen.low, seen.high).units(seen.distinct)
    basis = chebyshev.chebvander(u, degree)
    if np.linalg.cond(basis) > 1e10:
        return None
    root = np.sqrt(seen.counts)
    q, _ = np.linalg.qr(root[:, None] * basis)
    means = seen.means - seen.scores.mean()
    residual = means - (q @ (q.T @ (root * means))) / root
    squares, _ = _leave_one_out_squares(seen, residual, np.einsum("ij,ij->i", q, q))
    return float(np.sqrt(squares.sum() / seen.scores.size))


def _law(seen: Observations) -> float | None:
    if seen.distinct.size < 4:
        return None
    share, rows = seen.distinct / (1 + seen.distinct), seen.scores.size
    powers = _EXPONENTS[:, None] * share
    rise = np.exp(powers - powers.max(axis=1, keepdims=True))  # at most 1; k absorbs the factor
    rise -= (rise @ seen.counts / rows)[:, None]
    spread = rise**2 @ seen.counts
    means = seen.means - seen.scores.mean()
    slope = (rise * means) @ seen.counts / spread
    leverage = seen.counts * (1 / rows + rise**2 / spread[:, None])
    squares, rest = _leave_one_out_squares(seen, means - slope[:, None] * rise, leverage)
    # The exponent is chosen without the omitted ratio too.
    chosen = np.take_along_axis(squares, np.argmin(rest, axis=0)[None], axis=0)
    return float(np.sqrt(chosen.sum() / rows))


def _process(seen: Observations) -> float | None:
    if seen.distinct.size < 3:
        return None
    errors = gaussian_process.leave_one_out_errors(
        seen.ratios, seen.scores, seen.low, seen.high, relative_variances(seen)
    )
    return float(np.sqrt(np.mean(errors**2)))


def _leave_one_out_squares(
    seen: Observations, residual: Floats, leverage: Floats
) -> tuple[Floats, Floats]:
    """For each ratio omitted in turn: the squared errors summed over its rows, and the squared
    residuals summed over the other rows, from a full fit's residuals and leverages by ratio. Shape
    (..., ratios) each."""
    # A leverage of 1 forces the curve through its ratio: the full fit predicts nothing there.
    error = residual / np.maximum(1 - leverage, 1e-9)
    within = np.bincount(seen.group, (seen.scores - seen.means[seen.group]) ** 2)
    total = np.sum(seen.counts * residual**2, axis=-1, keepdims=True) + within.sum()
    return seen.counts * error**2 + within, total - seen.counts * residual * error - within
