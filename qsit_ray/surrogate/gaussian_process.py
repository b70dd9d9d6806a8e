"""pure: a Gaussian process over log-ratio: what noisy scores say of the response between them.

The response is a constant plus a smooth function (Matern 5/2 covariance over log-ratio), and each
run adds independent noise. The constant has a flat prior, the noise's variance a scale-free one,
and both are integrated out. The length over which the response bends and the ratio of its variance
to the noise's are not estimated but averaged over a grid, weighted by their marginal likelihood
(Rasmussen and Williams, Gaussian Processes for Machine Learning, sections 2.7 and 5.4): few trials
leave them open, and intervals from the best values alone would be too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsit_ray.errors import InputError

Floats = NDArray[np.float64]

POINTS = 129
# Lengths in units of the searched interval's log-ratio, and variances in units of the noise's.
LENGTHS = np.geomspace(0.08, 1.28, 7)
VARIANCES = np.geomspace(0.1, 1e5, 9)
# The prior on the length: log-normal, most of it between a tenth and all of the interval.
_MIDDLE, _SPREAD = 0.35, 0.7
# More distinct ratios than this are moved to the nearest of so many even places.
_PLACES = 128
_NEGLIGIBLE = 1e-3  # weight under which a pair of hyper-parameters is left out


@dataclass(frozen=True)
class Posterior:
    """The response at `ratios`, given the scores.

    `ratios`: shape (grid,), even in log-ratio, from `low` to `high`. `mean`: shape (grid,).
    `covariance`: of the response without noise, shape (grid, grid). `noise`: standard deviation of
    one run. Draws come from the mixture of Student t processes itself, not from its two moments.
    """

    ratios: Floats
    mean: Floats
    covariance: Floats
    noise: float
    _data: _Data = field(repr=False)
    _parts: _Parts = field(repr=False)

    def samples(self, count: int, seed: int) -> Floats:
        """Responses drawn from the posterior, shape (count, grid); the same for the same seed."""
        rng = np.random.default_rng(seed)
        parts = self._parts
        drawn = []
        for part, n in enumerate(rng.multinomial(count, parts.weights)):
            if n:
                scale = np.sqrt(parts.squares[part] / rng.chisquare(parts.freedom, n))
                factor = parts.factors[part]
                normal = rng.standard_normal((n, factor.shape[1]))
                drawn.append(parts.means[part] + scale[:, None] * (normal @ factor.T))
        return np.concatenate(drawn)

    @property
    def optimum(self) -> float:
        """The ratio at which the mean is greatest."""
        return float(self.at(tops(self.mean[None])[0])[0])

    def mean_at(self, ratios: ArrayLike) -> Floats:
        """The mean at any ratios of the interval, shape (ratios,)."""
        low, high = np.log(self.ratios[[0, -1]])
        places = (np.log(np.asarray(ratios, dtype=np.float64)) - low) / (high - low)
        return self._data.offset + self._parts.weights @ self._data.means(places, self._parts.pairs)

    def at(self, places: Floats) -> Floats:
        """The ratios at `places`, which are indices of the grid with fractions."""
        last = self.ratios.size - 1
        start, stop = np.log(self.ratios[[0, -1]])
        inside = np.exp(start + places / last * (stop - start))
        # The ends are what was given, to the last digit.
        return np.where(
            places <= 0, self.ratios[0], np.where(places >= last, self.ratios[-1], inside)
        )


def posterior(
    ratios: ArrayLike, scores: ArrayLike, low: float, high: float, points: int = POINTS
) -> Posterior:
    """What `scores`, shape (rows,), say of the response from ratio `low` to `high`.

    Repeats are rows with the same ratio. Two scores are enough; that few leave everything open.
    Raises InputError for fewer, for rows that are not finite, ratios that are not positive, and an
    interval that is none.
    """
    data = _Data.of(ratios, scores, low, high)
    grid = np.linspace(0, 1, points)
    weights = data.weights()
    kept = np.flatnonzero(weights > _NEGLIGIBLE * weights.max())
    share = weights[kept] / weights[kept].sum()
    means, spreads = data.means(grid, kept), data.spreads(grid, kept)
    squares = data.squares[kept]
    freedom = data.rows - 1
    # With three scores or fewer a Student t has no variance; its scale stands in.
    variance = squares / max(freedom - 2, 1)
    mean = share @ means
    away = means - mean
    covariance = (
        np.einsum("p,p,pij->ij", share, variance, spreads) + (share[:, None] * away).T @ away
    )
    start, stop = np.log([low, high])
    where = np.exp(start + grid * (stop - start))
    where[[0, -1]] = low, high
    return Posterior(
        ratios=where,
        mean=data.offset + mean,
        covariance=covariance,
        noise=float(np.sqrt(share @ squares / freedom)),
        _data=data,
        _parts=_Parts(kept, share, data.offset + means, spreads, squares, freedom),
    )


def left_out_errors(ratios: ArrayLike, scores: ArrayLike, low: float, high: float) -> Floats:
    """Each score less what the process foretells of it from the scores at other ratios alone,
    shape (rows,). Errors as `posterior`, and for fewer than three distinct ratios."""
    data = _Data.of(ratios, scores, low, high)
    if data.count.size < 3:
        raise InputError("at least 3 distinct ratios are needed to leave one out")
    return data.left_out()[data.group] + data.residual


@dataclass(frozen=True)
class _Parts:
    """The mixture's parts: the pairs of hyper-parameters, weights (parts,), means (parts, grid),
    covariances in units of the noise's variance (parts, grid, grid), sums of squares (parts,), and
    the degrees of freedom."""

    pairs: NDArray[np.intp]
    weights: Floats
    means: Floats
    spreads: Floats
    squares: Floats
    freedom: int

    @cached_property
    def factors(self) -> Floats:
        """F with F F' = spread, of each part."""
        values, vectors = np.linalg.eigh(self.spreads)
        return vectors * np.sqrt(np.maximum(values, 0))[:, None, :]


@dataclass(frozen=True)
class _Data:
    """Scores by distinct ratio: places in [0, 1] over log-ratio, means less `offset`, counts; and
    for every pair of hyper-parameters what follows from them alone (arrays of shape (pairs, …)).

    `inverse` is that of K, the covariance of the means in units of the noise's variance;
    `projected` is inverse - inverse 1 1' inverse / (1' inverse 1): K's inverse once the constant
    has been integrated out. `log_volume` is log |K| + log 1' inverse 1.
    """

    place: Floats
    mean: Floats
    count: Floats
    group: NDArray[np.intp]
    residual: Floats
    offset: float
    inverse: Floats
    projected: Floats
    log_volume: Floats

    @classmethod
    def of(cls, ratios: ArrayLike, scores: ArrayLike, low: float, high: float) -> _Data:
        x, y = np.asarray(ratios, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        _check(x, y, low, high)
        start, stop = np.log([low, high])
        scaled = (np.log(x) - start) / (stop - start)
        if np.unique(scaled).size > _PLACES:
            scaled = np.round(scaled * (_PLACES - 1)) / (_PLACES - 1)
        place, group = np.unique(scaled, return_inverse=True)
        count = np.bincount(group).astype(np.float64)
        offset = float(y.mean())
        mean = np.bincount(group, y - offset) / count
        inverse, log_determinant = _inverses(place, count)
        total = inverse.sum(axis=(1, 2))
        sums = inverse.sum(axis=2)
        projected = inverse - sums[:, :, None] * sums[:, None, :] / total[:, None, None]
        return cls(
            place, mean, count, group, y - offset - mean[group], offset,
            inverse, projected, log_determinant + np.log(total),
        )  # fmt: skip

    @property
    def rows(self) -> int:
        return self.group.size

    @cached_property
    def pulls(self) -> Floats:
        """projected @ mean, shape (pairs, ratios)."""
        return self.projected @ self.mean

    @cached_property
    def squares(self) -> Floats:
        """The sum of squares that the noise's variance is judged by, shape (pairs,)."""
        # Scores that agree to the last digits would leave nothing to divide by.
        least = self.rows * (1e-12 * max(1.0, abs(self.offset))) ** 2
        return np.maximum(self.residual @ self.residual + self.pulls @ self.mean, least)

    def weights(self) -> Floats:
        """Posterior weights of the pairs, shape (pairs,)."""
        log = -0.5 * (self.log_volume + (self.rows - 1) * np.log(self.squares)) + _log_prior()
        weights = np.exp(log - log.max())
        return weights / weights.sum()

    def means(self, places: Floats, pairs: NDArray[np.intp]) -> Floats:
        """The mean response at `places` for some of the pairs, less `offset`, (pairs, places)."""
        sums, total = self.inverse[pairs].sum(axis=2), self.inverse[pairs].sum(axis=(1, 2))
        constant = (sums @ self.mean) / total
        cross = _covariances(places, self.place, pairs)
        return constant[:, None] + np.einsum("pgn,pn->pg", cross, self.pulls[pairs])

    def spreads(self, places: Floats, pairs: NDArray[np.intp]) -> Floats:
        """The response's covariance in units of the noise's variance, (pairs, places, places)."""
        inverse = self.inverse[pairs]
        sums, total = inverse.sum(axis=2), inverse.sum(axis=(1, 2))
        cross = _covariances(places, self.place, pairs)
        missing = 1 - np.einsum("pgn,pn->pg", cross, sums)
        spreads = _covariances(places, places, pairs) - cross @ inverse @ cross.transpose(0, 2, 1)
        return spreads + missing[:, :, None] * missing[:, None, :] / total[:, None, None]

    def left_out(self) -> Floats:
        """Each ratio's mean less what the others foretell, shape (ratios,).

        All from the full data: leaving ratio i out changes K's inverse by its row i alone, and
        |K| 1' K^-1 1 by the factor projected[i, i]; hyper-parameters are weighed anew.
        """
        own = np.diagonal(self.projected, axis1=1, axis2=2)
        within = np.bincount(self.group, self.residual**2)
        squares = np.maximum(self.squares[:, None] - self.pulls**2 / own - within, 1e-300)
        rest = self.rows - self.count - 1
        log = -0.5 * (self.log_volume[:, None] + np.log(own) + rest * np.log(squares))
        log += _log_prior()[:, None]
        weights = np.exp(log - log.max(axis=0))
        return np.sum(weights * self.pulls / own, axis=0) / weights.sum(axis=0)


def _check(x: Floats, y: Floats, low: float, high: float) -> None:
    if x.shape != y.shape or x.ndim != 1:
        raise InputError(f"ratios {x.shape} and scores {y.shape}: one of each a row is needed")
    if x.size < 2:
        raise InputError(f"{x.size} scores are too few for a Gaussian process; 2 are needed")
    if not (np.all(np.isfinite(x) & (x > 0)) and np.all(np.isfinite(y))):
        raise InputError("every ratio must be positive and every score finite")
    if not 0 < low < high < np.inf:
        raise InputError(f"ratios from {low:g} to {high:g} are no interval to search")


def _inverses(place: Floats, count: Floats) -> tuple[Floats, Floats]:
    """K^-1 and log |K| of every pair, shapes (pairs, ratios, ratios) and (pairs,).

    K = v k + diag(1 / count). One eigendecomposition a length serves all variances v.
    """
    root = np.sqrt(count)
    inverses, logs = [], []
    for length in LENGTHS:
        scaled = root[:, None] * _matern(place, place, length) * root
        values, vectors = np.linalg.eigh(scaled)
        for variance in VARIANCES:
            grown = 1 + variance * np.maximum(values, 0)
            inverses.append(root[:, None] * ((vectors / grown) @ vectors.T) * root)
            logs.append(np.log(grown).sum() - np.log(count).sum())
    return np.array(inverses), np.array(logs)


def _log_prior() -> Floats:
    by_length = -0.5 * (np.log(LENGTHS / _MIDDLE) / _SPREAD) ** 2
    return np.repeat(by_length, VARIANCES.size)


def _covariances(a: Floats, b: Floats, pairs: NDArray[np.intp]) -> Floats:
    """Prior covariances in units of the noise's variance, shape (pairs, a, b)."""
    lengths, variances = LENGTHS[pairs // VARIANCES.size], VARIANCES[pairs % VARIANCES.size]
    settings = zip(lengths, variances, strict=True)
    return np.stack([variance * _matern(a, b, length) for length, variance in settings])


def _matern(a: Floats, b: Floats, length: float) -> Floats:
    distance = np.sqrt(5) * np.abs(a[:, None] - b) / length
    return np.asarray((1 + distance + distance**2 / 3) * np.exp(-distance))


def tops(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Where curves of shape (curves, grid) are greatest, as indices with fractions, shape
    (curves,), and whether that is an end of the grid.

    Inside, it is the top of the parabola through the greatest value and its neighbours, which is
    far finer than the grid. The grid has three points or more.
    """
    at = np.argmax(values, axis=1)
    end = (at == 0) | (at == values.shape[1] - 1)
    inner = np.clip(at, 1, values.shape[1] - 2)
    rows = np.arange(len(at))
    left, middle, right = (values[rows, inner + step] for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.divide(0.5 * (left - right), bend, out=np.zeros_like(bend), where=bend < 0)
    return np.where(end, at, inner + np.clip(shift, -1, 1)), end
