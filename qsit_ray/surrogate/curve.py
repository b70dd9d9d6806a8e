"""pure: the curve fitted to a search's trials, its argmax and its uncertainty (Alg. 1).

The paper fits a fourth-degree polynomial to performance over the ratio and takes its argmax on the
searched interval. Here a polynomial is a Chebyshev series on the interval mapped to [-1, 1], so
that no power of a ratio is ever formed; its uncertainty comes from a hierarchical bootstrap. The
Gaussian process, whose posterior is its own uncertainty, is stored as such a series too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray

from qsit_ray.errors import InputError
from qsit_ray.surrogate.alternatives import INFORMED, PROCESS, polynomial_name
from qsit_ray.surrogate.coordinates import COORDINATES, Coordinate, Floats, Scale
from qsit_ray.surrogate.evidence import Evidence, trends
from qsit_ray.surrogate.gaussian_process import interpolated_argmax, posterior
from qsit_ray.surrogate.noise import relative_variances
from qsit_ray.surrogate.observations import Observations
from qsit_ray.surrogate.resampling import RESAMPLES, bootstrap, noise_and_flatness, orthonormal

MAX_DEGREE = 8
MIN_RATIOS = 3  # of a Gaussian process
_GRID = np.linspace(-1, 1, 257)  # of u, for resampled polynomials
_REGRET_ROWS = 33
_SERIES = 64  # degree of the series that approximates a Gaussian process's mean
_SHOWN = 5


@dataclass(frozen=True)
class Fit:
    """A fitted response and its uncertainty.

    `curve`: its name. `degree`: of a polynomial, else null. `coefficients`: Chebyshev series in
    u = 2 (t - t(low)) / (t(high) - t(low)) - 1, where t is the ratio, its logarithm or its share
    r / (1 + r). `low`, `high`: the searched interval, the least and greatest ratio with a score.
    `interval`: percentile interval of the argmax. `edge_probability`: share of drawn curves whose
    argmax is an end, null without `noise`. `regret_zone`: ratios around the optimum, none of which
    loses more than `tolerance` (in units of the score) against the best ratio, with probability
    `confidence` for all of them together. `regret_curve`: rows of ratio, median loss there against
    the best ratio, and the loss that is not exceeded with probability `confidence`; empty without
    `noise`. `noise`: standard deviation of one run (in the middle of the search, where repeats show
    that it differs by ratio), null where coefficients and rows are nearly as
    many. `flat`: an F-test at 1 - confidence finds no effect of the ratio. `rows`, `dropped`: rows
    used and rows without a score.
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

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and strings; every number finite."""
        values = asdict(self)
        values["regret_curve"] = [list(row) for row in self.regret_curve]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Fit:
        """The inverse of `to_json`; other keys are ignored. Raises KeyError where one is absent."""
        values = {field.name: content[field.name] for field in fields(cls)}
        for name in ("coefficients", "interval", "regret_zone"):
            values[name] = tuple(values[name])
        values["regret_curve"] = tuple(tuple(row) for row in values["regret_curve"])
        return cls(**values)


def polynomial(
    seen: Observations,
    degree: int = 4,
    coordinate: Coordinate = "ratio",
    seed: int = 0,
    confidence: float = 0.95,
    tolerance: float | None = None,
) -> Fit:
    """Fit a polynomial of `degree` over `coordinate`; the paper's is a quartic over the ratio.

    Raises InputError for fewer than degree + 1 distinct ratios, naming the degree that would fit,
    for ratios too close together, and for a degree, coordinate or confidence out of range.
    """
    _check_polynomial(seen, degree, coordinate)
    scale = Scale(coordinate, seen.low, seen.high)
    u = scale.units(seen.ratios)
    basis, condition = orthonormal(u, degree)
    if condition > 1e10:
        raise InputError(
            f"ratios too close together over {coordinate} for degree {degree}: try coordinate log "
            "or a lower degree"
        )
    mean = seen.scores.mean()  # subtracted: a small effect on a large score stays exact
    coefficients = np.linalg.lstsq(chebyshev.chebvander(u, degree), seen.scores - mean)[0]
    coefficients[0] += mean
    noise, flat = noise_and_flatness(seen, basis, confidence)
    drawn = None
    if noise is not None:
        drawn = bootstrap(u, seen.scores - mean, seen.group, degree, _GRID, seed)
    name = polynomial_name(degree, coordinate)
    return _describe(
        seen, name, degree, scale, coefficients, drawn, noise, flat, confidence, tolerance
    )


def process(
    seen: Observations,
    seed: int = 0,
    confidence: float = 0.95,
    tolerance: float | None = None,
    evidence: Sequence[Evidence] = (),
) -> Fit:
    """Fit a Gaussian process over log-ratio, with what evidence there is; `seed` draws its samples.
    Raises InputError for fewer than 3 distinct ratios and for a confidence out of range."""
    if seen.distinct.size < MIN_RATIOS:
        raise InputError(
            f"{seen.distinct.size} distinct ratios with a score are too few for a Gaussian "
            f"process: search {MIN_RATIOS} or more"
        )
    scale = Scale("log", seen.low, seen.high)
    found = posterior(
        seen.ratios, seen.scores, seen.low, seen.high,
        trends=trends(evidence), variances=relative_variances(seen),
    )  # fmt: skip
    name = INFORMED if evidence else PROCESS
    nodes = chebyshev.chebpts1(_SERIES + 1)
    series = chebyshev.chebfit(nodes, found.mean_at(scale.ratios(nodes)), _SERIES)
    # The F-test needs a polynomial here too: the highest degree up to 4 that the ratios allow.
    basis, _ = orthonormal(scale.units(seen.ratios), min(4, seen.distinct.size - 1))
    _, flat = noise_and_flatness(seen, basis, confidence)
    return _describe(
        seen, name, None, scale, np.asarray(series, dtype=np.float64),
        found.samples(RESAMPLES, seed), found.noise, flat, confidence, tolerance,
    )  # fmt: skip


def predict(fitted: Fit, ratios: ArrayLike) -> Floats:
    """The fitted curve at `ratios`, same shape. Raises InputError outside the searched interval."""
    x = np.asarray(ratios, dtype=np.float64)
    slack = 1e-9 * (fitted.high - fitted.low)
    if not np.all((x >= fitted.low - slack) & (x <= fitted.high + slack)):
        raise InputError(f"the fit is valid only from ratio {fitted.low:g} to {fitted.high:g}")
    u = np.clip(Scale(fitted.coordinate, fitted.low, fitted.high).units(x), -1, 1)
    return np.asarray(chebyshev.chebval(u, fitted.coefficients), dtype=np.float64)


def _check_polynomial(seen: Observations, degree: int, coordinate: str) -> None:
    if coordinate not in COORDINATES:
        raise InputError(f"coordinate {coordinate!r}: expected ratio, log or share")
    if not 1 <= degree <= MAX_DEGREE:
        raise InputError(f"degree {degree}: a whole number from 1 to {MAX_DEGREE} is needed")
    found = seen.distinct.size
    if found <= degree:
        lower = f" or fit degree {found - 2}" if found > 2 else ""
        raise InputError(
            f"{found} distinct ratios with a score are too few for degree {degree}: "
            f"search {degree + 1} or more{lower}"
        )


def _describe(
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
    """The curve with its uncertainty from curves `drawn` around it, shape (draws, grid) over an
    even grid of u; without them the uncertainty is unknown and the interval is the whole search.

    Without a `tolerance` it is 2 % of the range of the ratios' mean scores, to one digit. Where the
    data do not support it even at the optimum, it is 1.25 times the loss they support there.
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence {confidence} must be between 0 and 1")
    best = _argmax(coefficients)
    interval = zone = (-1.0, 1.0)
    edge, regret_curve = None, []
    wanted = float(f"{0.02 * np.ptp(seen.means):.0e}") if tolerance is None else tolerance
    tolerance = float(np.ptp(seen.scores))
    if np.ptp(seen.scores) <= 1e-12 * max(1.0, float(np.abs(seen.scores).max())):
        best, edge = 0.0, 0.0  # equal scores: no ratio, least of all an end, is the best
    elif drawn is not None:
        grid = np.linspace(-1, 1, drawn.shape[1])
        index, at_end = interpolated_argmax(drawn)
        edge = float(np.mean(at_end))
        tail = (1 - confidence) / 2
        lower, upper = np.quantile(-1 + 2 * index / (grid.size - 1), [tail, 1 - tail])
        interval = (min(lower, best), max(upper, best))
        regrets = drawn.max(axis=1, keepdims=True) - drawn
        middle, bound = np.quantile(regrets, [0.5, confidence], axis=0)
        at = int(np.argmin(np.abs(grid - best)))
        tolerance = max(wanted, 1.25 * float(bound[at]))
        first, last = _zone(regrets > tolerance, at, confidence)
        zone = (min(grid[first], best), max(grid[last], best))
        step = (grid.size - 1) // (_REGRET_ROWS - 1)
        rows = np.stack([scale.ratios(grid), middle, bound], axis=1)[::step]
        regret_curve = [(float(r), float(m), float(b)) for r, m, b in rows]
    low, high, zone_low, zone_high = scale.ratios([*interval, *zone]).tolist()
    fitted = Fit(
        curve=curve,
        degree=degree,
        coordinate=scale.coordinate,
        coefficients=tuple(coefficients.tolist()),
        basis="chebyshev",
        low=scale.low,
        high=scale.high,
        optimum=float(scale.ratios(best)),
        optimum_score=float(chebyshev.chebval(best, coefficients)),
        interval=(low, high),
        confidence=confidence,
        edge_probability=edge,
        regret_zone=(zone_low, zone_high),
        tolerance=tolerance,
        regret_curve=tuple(regret_curve),
        flat=flat,
        noise=noise,
        rows=seen.scores.size,
        ratios=seen.distinct.size,
        dropped=seen.dropped,
        verdict="",
    )
    return replace(fitted, verdict=verdict_of(fitted, seen))


def _zone(over: NDArray[np.bool_], at: int, confidence: float) -> tuple[int, int]:
    """The first and last place of the widest stretch around `at` over which no curve of a share
    `confidence` of them is `over` its tolerance, shape (curves, grid); `at` alone where there is
    none."""
    places = np.arange(over.shape[1])
    start = np.where(over[:, : at + 1], places[: at + 1], -1).max(axis=1) + 1
    end = np.where(over[:, at:], places[at:], places.size).min(axis=1) - 1
    needed = int(np.ceil(confidence * len(over)))
    best = at, at
    for first in range(at + 1):
        ends = np.sort(end[start <= first])
        if ends.size >= needed and ends[-needed] - first > best[1] - best[0]:
            best = first, int(ends[-needed])
    return best


def _argmax(coefficients: Floats) -> float:
    """The u in [-1, 1] with the greatest value: an interior root of the derivative, or an end."""
    slope = chebyshev.chebtrim(chebyshev.chebder(coefficients), 1e-13 * np.abs(coefficients).max())
    roots = chebyshev.chebroots(slope) if len(slope) > 1 else np.empty(0)
    # A double root splits into a close complex pair; its real part is as good, and never beats a
    # true peak.
    inside = np.real(roots)[(np.abs(np.imag(roots)) < 1e-6) & (np.abs(np.real(roots)) < 1)]
    candidates = np.concatenate([[-1.0, 1.0], inside])
    return float(candidates[np.argmax(chebyshev.chebval(candidates, coefficients))])


def verdict_of(fitted: Fit, seen: Observations) -> str:
    """One or two sentences on the optimum, and one on missing scores where there are any."""
    return " ".join(filter(None, [_optimum(fitted), _missing(seen)]))


def _optimum(f: Fit) -> str:
    if f.noise is None:
        return (
            f"The curve peaks at ratio {f.optimum:.3g}, but has nearly as many coefficients as "
            "there are runs, so the noise is unknown: repeat runs or add ratios before you rely on "
            "it."
        )
    if f.flat:
        return (
            f"No ratio stands out: the response is flat from ratio {f.low:.3g} to {f.high:.3g}, "
            f"where no effect is distinguishable from the noise of {f.noise:.2g} per run, so "
            f"{f.optimum:.3g} is no better than another."
        )
    sure, (lower, upper) = f"{100 * f.confidence:g} %", f.interval
    interval = f"{sure} interval {lower:.3g} to {upper:.3g}"
    text = f"The best ratio is {f.optimum:.3g}, "
    if f.optimum in (f.low, f.high):
        text += "an end of the search: extend the search beyond it"
        if lower < upper:
            text += f" ({interval})"
    else:
        text += interval
        if f.edge_probability and f.edge_probability >= 0.05:
            text += f" (an end of the search with probability {100 * f.edge_probability:.0f} %)"
    return (
        f"{text}; any ratio from {f.regret_zone[0]:.3g} to {f.regret_zone[1]:.3g} "
        f"is within {f.tolerance:.2g} of the best score with probability {sure}."
    )


def _missing(seen: Observations) -> str:
    if not seen.dropped:
        return ""
    total = seen.dropped + seen.scores.size
    text = f"Degraded: {seen.dropped} of {total} rows have no score and are not used"
    if seen.lost:
        text += f"; no run is left at ratio {_listed([f'{r:g}' for r in seen.lost])}"
        if min(seen.lost) < seen.low or max(seen.lost) > seen.high:
            text += f", so the search spans {seen.low:g} to {seen.high:g} only"
    left = {r: int(np.count_nonzero(seen.ratios == r)) for r in sorted(seen.missing)}
    fewer = [f"{n} of {n + seen.missing[r]} at ratio {r:g}" for r, n in left.items() if n]
    return text + (f"; fewer repeats: {_listed(fewer)}." if fewer else ".")


def _listed(items: list[str]) -> str:
    return ", ".join(items[:_SHOWN]) + (", …" if len(items) > _SHOWN else "")
