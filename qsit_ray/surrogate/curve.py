"""pure: a curve fitted to a search's trials, its argmax, and how sure one can be of it (Alg. 1).

The paper fits a fourth-degree polynomial to performance over the ratio and takes its argmax on the
searched interval. Here a polynomial is a Chebyshev series on the interval mapped to [-1, 1], so
that no power of a ratio is ever formed; its uncertainty comes from a hierarchical bootstrap. The
Gaussian process, whose posterior tells its own uncertainty, is written down as such a series too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray

from qsit_ray.errors import InputError
from qsit_ray.surrogate import gaussian_process
from qsit_ray.surrogate.alternatives import PROCESS, polynomial_name
from qsit_ray.surrogate.coordinates import COORDINATES, Coordinate, Floats, Scale
from qsit_ray.surrogate.gaussian_process import tops
from qsit_ray.surrogate.observations import Observations, observed
from qsit_ray.surrogate.resampling import RESAMPLES, bootstrap, noise_and_flatness, orthonormal

MAX_DEGREE = 8
LEAST_RATIOS = 3  # that a Gaussian process asks for
# Places of u at which resampled polynomials are compared, and those that a regret curve tells of.
_GRID = np.linspace(-1, 1, 257)
_TOLD = 33
_SERIES = 64  # degree of the series that stands for a Gaussian process' mean


@dataclass(frozen=True)
class Fit:
    """A fitted response and its uncertainty.

    `curve`: its name. `degree`: of a polynomial, else null. `coefficients`: Chebyshev series in
    u = 2 (t - t(low)) / (t(high) - t(low)) - 1, where t is the ratio, its logarithm or its share
    r / (1 + r). `low`, `high`: the searched interval, the least and greatest ratio with a score.
    `interval`: percentile interval of the argmax. `edge_probability`: share of drawn curves whose
    argmax is an end, null without `noise`. `regret_zone`: ratios around the optimum whose loss
    against the best ratio is within `tolerance` (in units of the score) with probability
    `confidence`. `regret_curve`: rows of ratio, median loss there against the best ratio, and the
    loss that is not exceeded with probability `confidence`; empty without `noise`. `noise`:
    standard deviation of one run, null where no repeat and no spare ratio shows it. `flat`: an
    F-test at 1 - confidence finds no effect of the ratio. `rows`, `dropped`: rows used and rows
    without a score.
    """

    curve: str
    degree: int | None
    coordinate: Coordinate
    coefficients: tuple[float, ...]
    basis: str
    low: float
    high: float
    optimum: float
    optimum_score: float
    interval: tuple[float, float]
    confidence: float
    edge_probability: float | None
    regret_zone: tuple[float, float]
    tolerance: float
    regret_curve: tuple[tuple[float, float, float], ...]
    flat: bool
    noise: float | None
    rows: int
    ratios: int
    dropped: int
    verdict: str

    @property
    def scale(self) -> Scale:
        return Scale(self.coordinate, self.low, self.high)

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and texts; every number finite."""
        values = asdict(self)
        values["regret_curve"] = [list(row) for row in self.regret_curve]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Fit:
        """The inverse of `to_json`; what a file holds besides is left alone."""
        values: Any = {name: content[name] for name in cls.__dataclass_fields__}
        for name in ("coefficients", "interval", "regret_zone"):
            values[name] = tuple(values[name])
        values["regret_curve"] = tuple(tuple(row) for row in values["regret_curve"])
        return cls(**values)


def fit(
    ratios: ArrayLike,
    scores: Sequence[float | None] | ArrayLike,
    *,
    degree: int = 4,
    coordinate: Coordinate = "ratio",
    seed: int = 0,
    confidence: float = 0.95,
    tolerance: float | None = None,
) -> Fit:
    """The polynomial through scores over ratios, one row a trial, shape (rows,) each; higher scores
    are better, and a trial without one has None or NaN. Errors as `observed` and `polynomial`."""
    return polynomial(observed(ratios, scores), degree, coordinate, seed, confidence, tolerance)


def polynomial(
    seen: Observations,
    degree: int = 4,
    coordinate: Coordinate = "ratio",
    seed: int = 0,
    confidence: float = 0.95,
    tolerance: float | None = None,
) -> Fit:
    """Fit a polynomial of `degree` over `coordinate`; the paper's is a quartic over the ratio.

    `tolerance` is the loss that the user would not mind, in units of the score; by default a tenth
    of a point: 0.001 where all scores lie in [-1, 1], else 0.1. Where the data cannot promise that
    even at the optimum, what they can promise there and a quarter more is taken, and reported.

    Raises InputError for fewer than degree + 1 distinct ratios (saying what would do).
    """
    _check_polynomial(seen, degree, coordinate)
    _check_promise(confidence, tolerance)
    scale = Scale(coordinate, seen.low, seen.high)
    u = scale.units(seen.ratios)
    basis, condition = orthonormal(u, degree)
    if condition > 1e10:
        raise InputError(
            f"ratios too bunched over {coordinate} for degree {degree}; try log or less"
        )
    mean = float(seen.scores.mean())  # taken off: a small effect on a large score stays exact
    solution = np.linalg.lstsq(chebyshev.chebvander(u, degree), seen.scores - mean, rcond=None)[0]
    coefficients = np.asarray(solution, dtype=np.float64)
    coefficients[0] += mean
    noise, flat = noise_and_flatness(seen, basis, confidence)
    drawn = None
    if noise is not None:
        drawn = bootstrap(u, seen.scores - mean, seen.group, degree, _GRID, seed)
    return _described(
        seen, polynomial_name(degree, coordinate), degree, scale, coefficients, drawn,
        noise, flat, confidence, tolerance,
    )  # fmt: skip


def process(
    seen: Observations, seed: int = 0, confidence: float = 0.95, tolerance: float | None = None
) -> Fit:
    """Fit a Gaussian process over log-ratio; `seed` draws its samples, and `tolerance` is as in
    `polynomial`. Raises InputError for fewer than 3 distinct ratios."""
    _check_promise(confidence, tolerance)
    if seen.distinct.size < LEAST_RATIOS:
        raise InputError(
            f"{seen.distinct.size} distinct ratios with a score do not carry a Gaussian process: "
            f"search {LEAST_RATIOS} or more"
        )
    scale = Scale("log", seen.low, seen.high)
    found = gaussian_process.posterior(seen.ratios, seen.scores, seen.low, seen.high)
    nodes = chebyshev.chebpts1(_SERIES + 1)
    series = chebyshev.chebfit(nodes, found.mean_at(scale.ratios(nodes)), _SERIES)
    coefficients = np.asarray(series, dtype=np.float64)
    # Whether the ratio matters at all is asked of a curve that could show it, here too.
    degree = min(4, seen.distinct.size - 1)
    basis, _ = orthonormal(scale.units(seen.ratios), degree)
    _, flat = noise_and_flatness(seen, basis, confidence)
    return _described(
        seen, PROCESS, None, scale, coefficients, found.samples(RESAMPLES, seed),
        found.noise, flat, confidence, tolerance,
    )  # fmt: skip


def predict(fitted: Fit, ratios: ArrayLike) -> Floats:
    """The fitted curve at `ratios`, same shape. Raises InputError outside the searched interval."""
    x = np.asarray(ratios, dtype=np.float64)
    slack = 1e-9 * (fitted.high - fitted.low)
    if not np.all((x >= fitted.low - slack) & (x <= fitted.high + slack)):
        raise InputError(f"the fit holds only from ratio {fitted.low:g} to {fitted.high:g}")
    u = np.clip(fitted.scale.units(x), -1, 1)
    return np.asarray(chebyshev.chebval(u, fitted.coefficients), dtype=np.float64)


def _described(
    seen: Observations,
    curve: str,
    degree: int | None,
    scale: Scale,
    coefficients: Floats,
    drawn: Floats | None,
    noise: float | None,
    flat: bool,
    confidence: float,
    tolerance: float | None,
) -> Fit:
    """What the curve and curves drawn around it, shape (draws, grid) over an even grid of u, say;
    without any nothing shows how far a second run would lie from the first."""
    best = _argmax(coefficients)
    interval = zone = (-1.0, 1.0)
    edge: float | None = None
    regret_curve: list[tuple[float, float, float]] = []
    if drawn is None:
        tolerance = float(np.ptp(seen.scores))
    else:
        grid = np.linspace(-1, 1, drawn.shape[1])
        places, at_end = tops(drawn)
        peaks = -1 + 2 * places / (grid.size - 1)
        edge = float(np.mean(at_end))
        tail = (1 - confidence) / 2
        lower, upper = np.quantile(peaks, [tail, 1 - tail])
        interval = (min(float(lower), best), max(float(upper), best))
        regrets = drawn.max(axis=1, keepdims=True) - drawn
        middle, promised = np.quantile(regrets, [0.5, confidence], axis=0)
        at = int(np.argmin(np.abs(grid - best)))
        if tolerance is None:
            tolerance = 1e-3 if np.abs(seen.scores).max() <= 1 else 0.1
        tolerance = max(tolerance, 1.25 * float(promised[at]))
        zone = _stretch_around(at, promised <= tolerance, grid, best)
        step = (grid.size - 1) // (_TOLD - 1)
        columns = (values[::step].tolist() for values in (scale.ratios(grid), middle, promised))
        regret_curve = list(zip(*columns, strict=True))
    low, high = scale.ratios(interval)
    zone_low, zone_high = scale.ratios(zone)
    fitted = Fit(
        curve=curve,
        degree=degree,
        coordinate=scale.coordinate,
        coefficients=tuple(map(float, coefficients)),
        basis="chebyshev",
        low=scale.low,
        high=scale.high,
        optimum=float(scale.ratios(best)),
        optimum_score=float(chebyshev.chebval(best, coefficients)),
        interval=(float(low), float(high)),
        confidence=confidence,
        edge_probability=edge,
        regret_zone=(float(zone_low), float(zone_high)),
        tolerance=tolerance,
        regret_curve=tuple(regret_curve),
        flat=flat,
        noise=noise,
        rows=seen.scores.size,
        ratios=seen.distinct.size,
        dropped=seen.dropped,
        verdict="",
    )
    return replace(fitted, verdict=told(fitted, seen))


def _check_polynomial(seen: Observations, degree: int, coordinate: str) -> None:
    if coordinate not in COORDINATES:
        raise InputError(f"coordinate {coordinate!r} is not known; write ratio, log or share")
    if not 1 <= degree <= MAX_DEGREE:
        raise InputError(f"degree {degree}: a whole number from 1 to {MAX_DEGREE} is needed")
    found = seen.distinct.size
    if found <= degree:
        advice = f"search {degree + 1} or more" + (
            f" or fit degree {found - 2}" if found > 2 else ""
        )
        raise InputError(
            f"{found} distinct ratios with a score do not carry degree {degree}: {advice}"
        )


def _check_promise(confidence: float, tolerance: float | None) -> None:
    if not 0 < confidence < 1:
        raise InputError(f"confidence {confidence} must lie between 0 and 1")
    if tolerance is not None and not (np.isfinite(tolerance) and tolerance >= 0):
        raise InputError(f"tolerance {tolerance}: a score difference of 0 or more is needed")


def _argmax(coefficients: Floats) -> float:
    """The u in [-1, 1] with the greatest value: an interior root of the derivative, or an end."""
    slope = chebyshev.chebtrim(chebyshev.chebder(coefficients), 1e-13 * np.abs(coefficients).max())
    roots = chebyshev.chebroots(slope) if len(slope) > 1 else np.empty(0)
    # A double root splits into a close complex pair; its real part is as good, and never beats a
    # true peak.
    inside = np.real(roots)[(np.abs(np.imag(roots)) < 1e-6) & (np.abs(np.real(roots)) < 1)]
    candidates = np.concatenate([[-1.0, 1.0], inside])
    return float(candidates[np.argmax(chebyshev.chebval(candidates, coefficients))])


def _stretch_around(
    at: int, good: NDArray[np.bool_], grid: Floats, best: float
) -> tuple[float, float]:
    """The unbroken stretch of good grid points that holds the optimum."""
    bad = np.concatenate([[-1], np.flatnonzero(~good), [grid.size]])
    first, last = bad[bad < at].max() + 1, bad[bad > at].min() - 1
    return min(float(grid[first]), best), max(float(grid[last]), best)


_SHOWN = 5


def told(fitted: Fit, seen: Observations) -> str:
    """One or two plain sentences on the optimum, and where runs have no score, on those."""
    return " ".join(filter(None, [_optimum(fitted), missing(seen)]))


def missing(seen: Observations) -> str:
    """What scores are missing, and what that leaves; empty where none is."""
    if not seen.dropped:
        return ""
    total = seen.dropped + seen.scores.size
    text = f"Degraded: {seen.dropped} of {total} rows have no score and were left out"
    if seen.lost:
        text += f"; no run is left at ratio {_listed([f'{r:g}' for r in seen.lost])}"
        if min(seen.lost) < seen.low or max(seen.lost) > seen.high:
            text += f", so the search spans {seen.low:g} to {seen.high:g} only"
    left = {r: int(np.count_nonzero(seen.ratios == r)) for r in sorted(seen.missing)}
    fewer = [f"{n} of {n + seen.missing[r]} at ratio {r:g}" for r, n in left.items() if n]
    return text + (f"; fewer repeats: {_listed(fewer)}." if fewer else ".")


def _optimum(f: Fit) -> str:
    sure = f"with {100 * f.confidence:g} %"
    if f.noise is None:
        return (
            f"The curve peaks at ratio {f.optimum:.3g}, but has as many coefficients as there are "
            "runs, so nothing shows the noise: repeat runs or add ratios before trusting it."
        )
    if f.flat:
        return (
            f"The response is flat: from ratio {f.low:.3g} to {f.high:.3g} no effect stands out "
            f"from the noise of {f.noise:.2g} a run, so {f.optimum:.3g} is no better than another."
        )
    lower, upper = f.interval
    if f.optimum in (f.low, f.high):
        text = f"The best ratio is {f.optimum:.3g}, an end of the search: look beyond it"
        if lower < upper:
            text += f" ({sure} from {lower:.3g} to {upper:.3g})"
    else:
        text = f"The best ratio is {f.optimum:.3g}, {sure} from {lower:.3g} to {upper:.3g}"
        if f.edge_probability and f.edge_probability >= 0.05:
            text += f" ({100 * f.edge_probability:.0f} % that it is an end of the search)"
    return (
        f"{text}; any ratio from {f.regret_zone[0]:.3g} to {f.regret_zone[1]:.3g} "
        f"is within {f.tolerance:.2g} of the best score {sure}."
    )


def _listed(items: list[str]) -> str:
    return ", ".join(items[:_SHOWN]) + (", …" if len(items) > _SHOWN else "")
