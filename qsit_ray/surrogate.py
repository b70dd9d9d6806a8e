"""pure: the curve fitted to a search's trials, its argmax, and how sure one can be of it (Alg. 1;
`fit.json`).

The paper fits a fourth-degree polynomial to performance over the ratio and takes its argmax on the
searched interval. Here the polynomial is a Chebyshev series on the interval mapped to [-1, 1], so
that no power of a ratio is ever formed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray

from qsit_ray.errors import InputError

Coordinate = Literal["ratio", "log", "share"]
Floats = NDArray[np.float64]

MAX_DEGREE = 8
RESAMPLES = 2000
# Points of u at which resampled curves are compared.
_GRID = np.linspace(-1, 1, 513)
_DEGREE_NAMES = ("constant", "linear", "quadratic", "cubic", "quartic")
# Weights of all resamples of one chunk stay below this many numbers (64 MB).
_CHUNK_NUMBERS = 8_000_000


@dataclass(frozen=True)
class Fit:
    """A fitted response and its uncertainty; `to_json()` is the content of `fit.json`.

    `coefficients`: Chebyshev series in u = 2 (t - t(low)) / (t(high) - t(low)) - 1, where t is the
    ratio, its logarithm or its share r / (1 + r). `low`, `high`: the searched interval, the least
    and greatest ratio with a score. `interval`: percentile interval of the argmax.
    `edge_probability`: share of resamples whose argmax is an end, null with `noise`. `regret_zone`:
    ratios around the optimum whose loss against the best ratio is within `tolerance` (in units of
    the score) with probability `confidence`. `noise`: standard deviation of one run, null where no
    repeat and no spare ratio shows it. `flat`: an F-test at 1 - confidence finds no effect of the
    ratio. `rows`, `dropped`: rows used and rows without a score. `rivals`: leave-one-ratio-out RMSE
    by curve, null where too few ratios remain.
    """

    degree: int
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
    flat: bool
    noise: float | None
    rows: int
    ratios: int
    dropped: int
    verdict: str
    rivals: dict[str, float | None]

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and texts; every number finite."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Fit:
        """The inverse of `to_json`."""
        values: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
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
    """Fit score over ratio, one row a trial, shape (rows,) each; higher scores are better.

    Repeats of a ratio are rows with the same ratio. Scores that are None, NaN or infinite are
    dropped and counted. `tolerance` is the loss that the user would not mind, in units of the
    score; by default a tenth of a point: 0.001 where all scores lie in [-1, 1], else 0.1. Where the
    data cannot promise that even at the optimum, the least loss that they can promise there is
    taken, and reported.

    Raises InputError for a ratio that is missing or not positive (with its row, the first being 0),
    for no scores, and for fewer than degree + 1 distinct ratios (saying what would do).
    """
    x, y, dropped, lost = _usable(ratios, scores)
    _check_settings(x, degree, coordinate, confidence, tolerance)
    distinct, group = np.unique(x, return_inverse=True)
    low, high = float(distinct[0]), float(distinct[-1])
    u = _to_unit(x, coordinate, low, high)
    basis, condition = _orthonormal(u, degree)
    if condition > 1e10:
        raise InputError(
            f"ratios too bunched over {coordinate} for degree {degree}; try log or less"
        )
    mean = float(y.mean())  # taken off: a small effect on a large score stays exact
    solution = np.linalg.lstsq(chebyshev.chebvander(u, degree), y - mean, rcond=None)[0]
    coefficients = np.asarray(solution, dtype=np.float64)
    coefficients[0] += mean
    best = _argmax(coefficients)
    noise, flat = _noise_and_flatness(y, group, basis, confidence)

    at = int(np.argmin(np.abs(_GRID - best)))
    if noise is None:
        # Nothing shows how far a second run would lie from the first: every ratio stays possible.
        interval = zone = (-1.0, 1.0)
        edge, tolerance = None, float(np.ptp(y))
    else:
        peaks, regrets, edge = _resample(u, y - mean, group, degree, seed)
        tail = (1 - confidence) / 2
        lower, upper = np.quantile(peaks, [tail, 1 - tail])
        interval = (min(float(lower), best), max(float(upper), best))
        promised = np.quantile(regrets, confidence, axis=0)
        wanted = tolerance if tolerance is not None else (1e-3 if np.abs(y).max() <= 1 else 0.1)
        tolerance = max(wanted, float(promised[at]))
        zone = _stretch_around(at, promised <= tolerance, best)

    stretch = (coordinate, low, high)
    fitted = Fit(
        degree=degree,
        coordinate=coordinate,
        coefficients=tuple(map(float, coefficients)),
        basis="chebyshev",
        low=low,
        high=high,
        optimum=_to_ratio(best, *stretch),
        optimum_score=float(chebyshev.chebval(best, coefficients)),
        interval=(_to_ratio(interval[0], *stretch), _to_ratio(interval[1], *stretch)),
        confidence=confidence,
        edge_probability=edge,
        regret_zone=(_to_ratio(zone[0], *stretch), _to_ratio(zone[1], *stretch)),
        tolerance=tolerance,
        flat=flat,
        noise=noise,
        rows=len(y),
        ratios=len(distinct),
        dropped=dropped,
        verdict="",
        rivals=_rivals(x, y, group, degree, coordinate),
    )
    return replace(fitted, verdict=_verdict(fitted, lost))


def predict(fitted: Fit, ratios: ArrayLike) -> Floats:
    """The fitted curve at `ratios`, same shape. Raises InputError outside the searched interval."""
    x = np.asarray(ratios, dtype=np.float64)
    slack = 1e-9 * (fitted.high - fitted.low)
    if not np.all((x >= fitted.low - slack) & (x <= fitted.high + slack)):
        raise InputError(f"the fit holds only from ratio {fitted.low:g} to {fitted.high:g}")
    u = np.clip(_to_unit(x, fitted.coordinate, fitted.low, fitted.high), -1, 1)
    return np.asarray(chebyshev.chebval(u, fitted.coefficients), dtype=np.float64)


def _usable(ratios: ArrayLike, scores: Any) -> tuple[Floats, Floats, int, list[float]]:
    """Rows with a score, how many had none, and the ratios that lost all their rows."""
    x, y = _numbers(ratios, "ratio"), _numbers(scores, "score")
    if x.size != y.size:
        raise InputError(f"{x.size} ratios but {y.size} scores; one of each a row is needed")
    wrong = np.flatnonzero(~(np.isfinite(x) & (x > 0)))
    if wrong.size:
        row = int(wrong[0])
        raise InputError(f"ratio {x[row]:g} in row {row} (first row is 0) must be positive")
    kept = np.isfinite(y)
    if not kept.any():
        raise InputError(f"none of the {y.size} rows has a score; one run a ratio must finish")
    lost = sorted(set(x[~kept].tolist()) - set(x[kept].tolist()))
    return x[kept], y[kept], int(np.count_nonzero(~kept)), lost


def _numbers(values: Any, what: str) -> Floats:
    numbers = []
    for row, value in enumerate(values):
        try:
            numbers.append(np.nan if value is None else float(value))
        except (TypeError, ValueError):
            raise InputError(
                f"{what} {value!r} in row {row} (first row is 0) is no number"
            ) from None
    return np.array(numbers, dtype=np.float64)


def _check_settings(
    x: Floats, degree: int, coordinate: str, confidence: float, tolerance: float | None
) -> None:
    if coordinate not in get_args(Coordinate):
        raise InputError(f"coordinate {coordinate!r} is not known; write ratio, log or share")
    if not 1 <= degree <= MAX_DEGREE:
        raise InputError(f"degree {degree}: a whole number from 1 to {MAX_DEGREE} is needed")
    if not 0 < confidence < 1:
        raise InputError(f"confidence {confidence} must lie between 0 and 1")
    if tolerance is not None and not (np.isfinite(tolerance) and tolerance >= 0):
        raise InputError(f"tolerance {tolerance}: a score difference of 0 or more is needed")
    found = np.unique(x).size
    if found <= degree:
        advice = f"search {degree + 1} or more" + (
            f" or fit degree {found - 2}" if found > 2 else ""
        )
        raise InputError(
            f"{found} distinct ratios with a score do not carry degree {degree}: {advice}"
        )


def _to_unit(ratios: Floats, coordinate: str, low: float, high: float) -> Floats:
    """Ratios to u in [-1, 1]: the coordinate, stretched so that low is -1 and high is 1."""
    ends = _transform(np.array([low, high]), coordinate)
    return 2 * (_transform(ratios, coordinate) - ends[0]) / (ends[1] - ends[0]) - 1


def _transform(ratios: Floats, coordinate: str) -> Floats:
    if coordinate == "log":
        return np.log(ratios)
    return ratios / (1 + ratios) if coordinate == "share" else ratios


def _to_ratio(unit: float, coordinate: str, low: float, high: float) -> float:
    """The inverse of `_to_unit`, exact at both ends."""
    if abs(unit) == 1:
        return low if unit < 0 else high
    start, stop = _transform(np.array([low, high]), coordinate)
    t = float(start + (unit + 1) / 2 * (stop - start))
    value = float(np.exp(t)) if coordinate == "log" else t / (1 - t) if coordinate == "share" else t
    return min(max(value, low), high)


def _orthonormal(u: Floats, degree: int) -> tuple[Floats, float]:
    """An orthonormal basis of the polynomials at `u`, (rows, degree + 1), and its condition."""
    q, r = np.linalg.qr(chebyshev.chebvander(u, degree))
    return q, float(np.linalg.cond(r))


def _argmax(coefficients: Floats) -> float:
    """The u in [-1, 1] with the greatest value: an interior root of the derivative, or an end."""
    slope = chebyshev.chebtrim(chebyshev.chebder(coefficients), 1e-13 * np.abs(coefficients).max())
    roots = chebyshev.chebroots(slope) if len(slope) > 1 else np.empty(0)
    # A double root splits into a close complex pair; its real part is as good, and never beats a
    # true peak.
    inside = np.real(roots)[(np.abs(np.imag(roots)) < 1e-6) & (np.abs(np.real(roots)) < 1)]
    candidates = np.concatenate([[-1.0, 1.0], inside])
    return float(candidates[np.argmax(chebyshev.chebval(candidates, coefficients))])


def _noise_and_flatness(
    y: Floats, group: NDArray[np.intp], basis: Floats, confidence: float
) -> tuple[float | None, bool]:
    """Standard deviation of one run, and whether an F-test against a constant finds no effect."""
    from scipy.special import fdtrc  # lazily: half of this module's import time otherwise

    deviation = y - y.mean()
    total = float(deviation @ deviation)
    # Scores that agree to the last digits are equal: what is left is rounding.
    if total <= y.size * (1e-12 * max(1.0, float(np.abs(y).max()))) ** 2:
        return 0.0, True
    means = np.bincount(group, y) / np.bincount(group)
    spare = y.size - basis.shape[1]
    if spare == 0:
        return None, False
    residual = deviation - basis @ (basis.T @ deviation)
    unexplained = float(residual @ residual)
    repeats = y.size - means.size
    # Repeats show the noise itself; without them, the distance from the curve stands in for it.
    within = float(np.sum((y - means[group]) ** 2))
    noise = float(np.sqrt(within / repeats if repeats else unexplained / spare))
    effects = basis.shape[1] - 1
    f = ((total - unexplained) / effects) / max(unexplained / spare, 1e-300)
    return noise, bool(fdtrc(effects, spare, max(f, 0.0)) > 1 - confidence)


def _resample(
    u: Floats, y: Floats, group: NDArray[np.intp], degree: int, seed: int
) -> tuple[Floats, Floats, float]:
    """Hierarchical bootstrap: ratios with replacement, then repeats within each drawn ratio.

    Repeats alone would miss that the curve is not the truth, and cover far too little. Returns the
    argmax of each resample (resamples,), its loss against the best at each grid point (resamples,
    grid) and the share that peaks at an end.
    """
    basis = chebyshev.chebvander(u, degree)
    curve = chebyshev.chebvander(_GRID, degree)
    rng = np.random.default_rng(seed)
    step = _GRID[1] - _GRID[0]
    peaks, regrets, at_end = [], [], 0
    for weights in _weights(group, degree, rng):
        gram = np.einsum("br,ri,rj->bij", weights, basis, basis, optimize=True)
        target = (weights * y) @ basis
        # A resample may hold ratios that all but coincide; the pseudo-inverse takes the smallest
        # curve there.
        solved = np.linalg.pinv(gram, rcond=1e-12, hermitian=True) @ target[..., None]
        values = solved[..., 0] @ curve.T
        at = np.argmax(values, axis=1)
        inner = np.clip(at, 1, _GRID.size - 2)
        rows = np.arange(len(at))
        left, mid, right = (values[rows, inner + k] for k in (-1, 0, 1))
        bend = left - 2 * mid + right
        # The top of the parabola through three neighbours is far finer than the grid.
        shift = np.divide(0.5 * (left - right), bend, out=np.zeros_like(bend), where=bend < 0)
        end = (at == 0) | (at == _GRID.size - 1)
        peaks.append(np.where(end, _GRID[at], _GRID[inner] + np.clip(shift, -1, 1) * step))
        regrets.append(values.max(axis=1, keepdims=True) - values)
        at_end += int(np.count_nonzero(end))
    return np.concatenate(peaks), np.concatenate(regrets), at_end / RESAMPLES


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


def _stretch_around(at: int, good: NDArray[np.bool_], best: float) -> tuple[float, float]:
    """The unbroken stretch of good grid points that holds the optimum."""
    bad = np.concatenate([[-1], np.flatnonzero(~good), [_GRID.size]])
    first, last = bad[bad < at].max() + 1, bad[bad > at].min() - 1
    return min(float(_GRID[first]), best), max(float(_GRID[last]), best)


def _rivals(
    x: Floats, y: Floats, group: NDArray[np.intp], degree: int, coordinate: str
) -> dict[str, float | None]:
    """Leave-one-ratio-out RMSE of the fitted curve and of degrees 0 to 4 in every coordinate."""
    order = np.argsort(group, kind="stable")
    blocks = np.split(order, np.cumsum(np.bincount(group))[:-1])
    errors: dict[str, float | None] = {}
    curves = [(d, c) for d in (1, 2, 3, 4) for c in get_args(Coordinate)]
    for d, c in dict.fromkeys([(degree, coordinate), (0, "ratio"), *curves]):
        name = _DEGREE_NAMES[d] if d < len(_DEGREE_NAMES) else f"degree {d}"
        name += f" over {c}" if d else ""
        errors[name] = None
        if len(blocks) < d + 2:
            continue
        basis, condition = _orthonormal(_to_unit(x, c, float(x.min()), float(x.max())), d)
        if condition > 1e10:
            continue
        residual = y - y.mean() - basis @ (basis.T @ (y - y.mean()))
        squares = 0.0
        for rows in blocks:
            # The error with a block left out follows from the full fit: (I - H)^-1 times its
            # residuals.
            hat = basis[rows] @ basis[rows].T
            missed = np.linalg.lstsq(np.eye(rows.size) - hat, residual[rows], rcond=None)[0]
            squares += float(missed @ missed)
        errors[name] = float(np.sqrt(squares / y.size))
    return errors


def _verdict(f: Fit, lost: list[float]) -> str:
    """One or two plain sentences on the optimum, and one on missing scores if there are any."""
    sure = f"with {100 * f.confidence:g} %"
    if f.noise is None:
        text = (
            f"The curve peaks at ratio {f.optimum:.3g}, but has as many coefficients as there are "
            "runs, so nothing shows the noise: repeat runs or add ratios before trusting it."
        )
    elif f.flat:
        text = (
            f"The response is flat: from ratio {f.low:.3g} to {f.high:.3g} no effect stands out "
            f"from the noise of {f.noise:.2g} a run, so {f.optimum:.3g} is no better than another."
        )
    else:
        if f.optimum in (f.low, f.high):
            text = f"The best ratio is {f.optimum:.3g}, an end of the search: look beyond it"
        else:
            lower, upper = f.interval
            text = f"The best ratio is {f.optimum:.3g}, {sure} from {lower:.3g} to {upper:.3g}"
            if f.edge_probability and f.edge_probability >= 0.05:
                text += f" ({100 * f.edge_probability:.0f} % that it is an end of the search)"
        text += (
            f"; any ratio from {f.regret_zone[0]:.3g} to {f.regret_zone[1]:.3g} "
            f"is within {f.tolerance:.2g} of the best score {sure}."
        )
    if f.dropped:
        text += f" {f.dropped} rows without a score were left out"
        gone = ", ".join(f"{r:g}" for r in lost)
        text += f"; no run is left at ratio {gone}." if lost else "."
    return text
