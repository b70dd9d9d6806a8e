"""pure: a Gaussian process over log-ratio: the posterior of a response, given noisy scores.

The response is a constant plus a function of log-ratio that is smooth (Matern 5/2 covariance), or
rough (Matern 3/2), or smooth but for one kink somewhere, and each run adds independent noise. The
constant has a flat prior, the noise variance a scale-free one, and both are integrated out; rows
may have noise variances in given proportions. The
kind of function, its length scale, the place of the kink, and the ratio of the signal variance to
the noise variance are averaged over, weighted by their marginal likelihood (Rasmussen and Williams,
Gaussian Processes for Machine Learning, sections 2.7 and 5.4): few trials leave them uncertain, and
intervals from the best values alone would be too narrow.

Curves that were measured elsewhere, such as losses or an earlier run's scores, may be given as
trends: the response is then, with half of the prior probability, a sum of them with unknown factors
and a smooth or rough function (Kennedy and O'Hagan, Predicting the output from a complex computer
code when fast approximations are available, 2000).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsit_ray.errors import InputError
from qsit_ray.surrogate.coordinates import Floats

Trend = Callable[[Floats], Floats]
"""A curve at ratios, shape (ratios,), that the response may follow."""

POINTS = 129
# Lengths are in units of the searched interval's log-ratio, variances in units of the noise's.
_SMOOTH = np.geomspace(0.04, 0.64, 7)
_ROUGH = np.geomspace(0.05, 0.4, 4)
_BESIDE_KINK = (0.32, 1.28)
_KINKS = np.linspace(0.05, 0.95, 19)
_KINK = 2.0  # slope on both sides, in standard deviations of the smooth function an interval
_TRENDS = (2.0, 15.0)  # standard deviation of a trend in those of the function beside it
_PRIOR = {"smooth": 0.1, "rough": 0.5, "kink": 0.4}
_VARIANCES = np.geomspace(0.1, 1e5, 9)
_NEGLIGIBLE = 1e-3  # pairs below this share of the greatest weight are ignored
_JITTER = 1e-9  # of the greatest variance; a covariance of smooth functions is nearly singular
_MOST_RATIOS = 128  # more distinct ratios are rounded to as many, even in log-ratio


@dataclass(frozen=True)
class Posterior:
    """The response at `ratios`, given the scores.

    `ratios`: shape (grid,), even in log-ratio, from `low` to `high`. `mean`: shape (grid,).
    `covariance`: of the response without noise, shape (grid, grid). `noise`: standard deviation of
    one run, in the middle of the search where it differs by ratio. Samples come from the mixture of
    Student t processes, one for each pair of a kernel and a variance; `_means` and `_spreads` are
    theirs, `_spreads` in units of the noise variance.
    """

    ratios: Floats
    mean: Floats
    covariance: Floats
    noise: float
    _given: _Conditioned = field(repr=False)
    _means: Floats = field(repr=False)
    _spreads: Floats = field(repr=False)

    def samples(self, count: int, seed: int) -> Floats:
        """Responses drawn from the posterior, shape (count, grid); the same for the same seed."""
        rng = np.random.default_rng(seed)
        drawn = []
        for part, n in enumerate(rng.multinomial(count, self._given.weights)):
            if n:
                squares = self._given.squares[self._given.pairs[part]]
                scale = np.sqrt(squares / rng.chisquare(self._given.rows - 1, n))
                factor = _root(self._spreads[part])
                normal = rng.standard_normal((n, self.ratios.size))
                drawn.append(self._means[part] + scale[:, None] * (normal @ factor.T))
        return np.concatenate(drawn)

    @property
    def optimum(self) -> float:
        """The ratio at which the mean is greatest."""
        index, _ = interpolated_argmax(self.mean[None])
        return float(_ratios(index / (self.ratios.size - 1), *self.ratios[[0, -1]])[0])

    def mean_at(self, ratios: ArrayLike) -> Floats:
        """The mean at any ratios of the interval, shape (ratios,)."""
        return _mean(self._given, ratios, *self.ratios[[0, -1]])


def posterior(
    ratios: ArrayLike,
    scores: ArrayLike,
    low: float,
    high: float,
    points: int = POINTS,
    trends: Sequence[Trend] = (),
    variances: Floats | None = None,
) -> Posterior:
    """The response from ratio `low` to `high`, given `scores`, shape (rows,).

    Repeats are rows with the same ratio. `variances`: of the rows' noise, in proportion, shape
    (rows,); equal without them. Two scores are enough for a posterior, though a wide one. Raises
    InputError for fewer, for values that are not finite, for ratios that are not positive, and
    unless 0 < low < high.
    """
    given = _Conditioned(ratios, scores, low, high, trends, variances)
    weights, squares = given.weights, given.squares[given.pairs]
    grid = np.linspace(0, 1, points)
    means, spreads = given.means(grid), given.spreads(grid)
    # A Student t of three scores or fewer has no variance; its squared scale is used instead.
    variance = squares / max(given.rows - 3, 1)
    mean = weights @ means
    away = means - mean
    return Posterior(
        ratios=_ratios(grid, low, high),
        mean=given.offset + mean,
        covariance=np.einsum("p,p,pij->ij", weights, variance, spreads)
        + (weights[:, None] * away).T @ away,
        noise=float(np.sqrt(weights @ squares / (given.rows - 1))),
        _given=given,
        _means=given.offset + means,
        _spreads=spreads,
    )


def mean_curve(
    ratios: ArrayLike, scores: ArrayLike, low: float, high: float, trends: Sequence[Trend] = ()
) -> Trend:
    """The posterior's mean at any ratios of the interval, without the posterior. Errors as
    `posterior`."""
    given = _Conditioned(ratios, scores, low, high, trends)
    return lambda places: _mean(given, places, low, high)


def leave_one_out_errors(
    ratios: ArrayLike,
    scores: ArrayLike,
    low: float,
    high: float,
    variances: Floats | None = None,
) -> Floats:
    """Each score less its prediction from the scores at other ratios, shape (rows,). Errors as
    `posterior`, and for fewer than three distinct ratios."""
    given = _Conditioned(ratios, scores, low, high, variances=variances)
    if given.counts.size < 3:
        raise InputError("at least 3 distinct ratios are needed to leave one out")
    # One fit is enough: without ratio i, K's inverse changes by its row i alone, and
    # |K| 1' K^-1 1 by the factor projected[i, i]. The pairs are weighted again for each ratio.
    own = np.diagonal(given.projected, axis1=1, axis2=2)
    within = np.bincount(given.group, given.precisions * given.residual**2)
    squares = np.maximum(given.squares[:, None] - given.alpha**2 / own - within, 1e-300)
    freedom = given.rows - 1 - np.bincount(given.group).astype(np.float64)
    volume = given.log_volume[:, None] + np.log(own)
    weights = _weights(volume, freedom, squares, given.log_prior[:, None])
    errors: Floats = np.sum(weights * given.alpha / own, axis=0) / weights.sum(axis=0)
    return errors[given.group] + given.residual


class _Conditioned:
    """The process given the scores, for every pair of a kernel and a variance.

    `places`, `observed` and `counts`, shape (ratios,): place in [0, 1] over log-ratio, mean score
    less `offset`, and rows of each distinct ratio, each counted by its precision. `residual`: each
    row's score less that mean.

    Of shape (pairs, ...): `inverse` of K, the covariance of the mean scores in units of the noise
    variance; its sums over one axis (`sums`) and both (`total`); `projected`, K^-1 with the
    constant integrated out, K^-1 - K^-1 1 1' K^-1 / (1' K^-1 1); `alpha` = projected @ observed;
    `log_volume` = log |K| + log 1' K^-1 1; and `squares`, which estimates the noise variance.
    `pairs` are the indices of the pairs that matter, `weights` their posterior weights.
    """

    def __init__(
        self,
        ratios: ArrayLike,
        scores: ArrayLike,
        low: float,
        high: float,
        trends: Sequence[Trend] = (),
        variances: Floats | None = None,
    ):
        x, y = np.asarray(ratios, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        _check(x, y, low, high)
        scaled = _places(x, low, high)
        if np.unique(scaled).size > _MOST_RATIOS:
            scaled = np.round(scaled * (_MOST_RATIOS - 1)) / (_MOST_RATIOS - 1)
        self.places, self.group = np.unique(scaled, return_inverse=True)
        self.rows = y.size
        self.precisions = np.ones(self.rows) if variances is None else 1 / variances
        self.counts = np.bincount(self.group, self.precisions)
        self.offset = float(y.mean())
        self.observed = np.bincount(self.group, self.precisions * (y - self.offset)) / self.counts
        self.residual = y - self.offset - self.observed[self.group]
        self.kernels = _Kernels(trends, low, high)
        self.log_prior = self.kernels.log_prior.repeat(_VARIANCES.size)
        # K = v k + diag(1 / counts): one eigendecomposition per kernel serves all variances v.
        root = np.sqrt(self.counts)
        every = np.arange(self.kernels.count)
        kernel = root[:, None] * self.kernels.covariances(self.places, self.places, every) * root
        values, vectors = np.linalg.eigh(kernel)
        eigenvalues = 1 + _VARIANCES[:, None] * np.maximum(values, 0)[:, None]
        half = vectors[:, None] / eigenvalues[:, :, None]
        inverse = root[:, None] * (half @ vectors[:, None].swapaxes(-1, -2)) * root
        self.inverse = inverse.reshape(-1, root.size, root.size)
        self.sums, self.total = self.inverse.sum(axis=2), self.inverse.sum(axis=(1, 2))
        outer = self.sums[:, :, None] * self.sums[:, None, :]
        self.projected = self.inverse - outer / self.total[:, None, None]
        determinant = np.log(eigenvalues).sum(axis=2).ravel() - np.log(self.counts).sum()
        self.log_volume = determinant + np.log(self.total)
        self.alpha = self.projected @ self.observed
        # Scores that are equal but for rounding would leave nothing to divide by.
        least = self.rows * (1e-12 * max(1.0, abs(self.offset))) ** 2
        explained = self.alpha @ self.observed
        within = self.precisions @ self.residual**2
        self.squares = np.maximum(within + explained, least)
        weights = _weights(self.log_volume, self.rows - 1, self.squares, self.log_prior)
        weights /= weights.sum()
        self.pairs = np.flatnonzero(weights > _NEGLIGIBLE * weights.max())
        self.weights = weights[self.pairs] / weights[self.pairs].sum()

    def means(self, places: Floats) -> Floats:
        """The mean response less `offset` at `places`, shape (len(pairs), places)."""
        constant: Floats = self.sums[self.pairs] @ self.observed / self.total[self.pairs]
        cross = self._prior(places, self.places)
        smooth: Floats = np.einsum("pgn,pn->pg", cross, self.alpha[self.pairs])
        return constant[:, None] + smooth

    def spreads(self, places: Floats) -> Floats:
        """The covariance at `places` over the noise variance, (len(pairs), places, places)."""
        cross = self._prior(places, self.places)
        known = cross @ self.inverse[self.pairs] @ cross.transpose(0, 2, 1)
        missing = 1 - np.einsum("pgn,pn->pg", cross, self.sums[self.pairs])
        constant = missing[:, :, None] * missing[:, None, :] / self.total[self.pairs, None, None]
        return np.asarray(self._prior(places, places) - known + constant)

    def _prior(self, a: Floats, b: Floats) -> Floats:
        """Prior covariances in units of the noise variance, shape (len(pairs), a, b)."""
        kernels, variances = np.divmod(self.pairs, _VARIANCES.size)
        used, at = np.unique(kernels, return_inverse=True)
        covariances = self.kernels.covariances(a, b, used)
        return np.asarray(_VARIANCES[variances, None, None] * covariances[at])


class _Kernels:
    """The prior's kinds of function. A covariance is that of a Matern process, plus the products of
    a kink's function or of the trends at both places.

    `lengths`, `rough` and `log_prior`, shape (count,).
    """

    def __init__(self, trends: Sequence[Trend], low: float, high: float):
        smooth = [(length, False, "smooth", 0.0) for length in _SMOOTH]
        rough = [(length, True, "rough", 0.0) for length in _ROUGH]
        kinks = [(length, False, "kink", place) for length in _BESIDE_KINK for place in _KINKS]
        with_trend = [
            (length, is_rough, "trend", scale)
            for length, is_rough, *_ in [*smooth, *rough]
            for scale in (_TRENDS if trends else ())
        ]
        found = [*smooth, *rough, *kinks, *with_trend]
        self.count = len(found)
        self.lengths = np.array([length for length, *_ in found])
        self.rough = np.array([is_rough for _, is_rough, *_ in found])
        self._kink, self._trend = (
            np.array([at if kind == wanted else np.nan for *_, kind, at in found])
            for wanted in ("kink", "trend")
        )
        self._trends, self._low, self._high = trends, low, high
        grid = np.linspace(0, 1, POINTS)
        self._levels = [(float(z.mean()), float(z.std())) for z in self._curves(grid)]
        # A length has a log-normal prior: most of its mass is from a tenth to all of the interval.
        # The rough ones are few, and weigh the same.
        prior = np.where(self.rough, 1.0, np.exp(-0.5 * (np.log(self.lengths / 0.35) / 0.7) ** 2))
        kinds = np.array([kind for *_, kind, _ in found])
        shares = {k: p * (0.5 if trends else 1.0) for k, p in _PRIOR.items()} | {"trend": 0.5}
        for kind, share in shares.items():
            if (of_kind := kinds == kind).any():
                prior[of_kind] *= share / prior[of_kind].sum()
        self.log_prior = np.log(prior)

    def covariances(self, a: Floats, b: Floats, which: NDArray[np.intp]) -> Floats:
        """Of the kernels `which` between places, shape (which, a, b)."""
        distance = np.abs(a[:, None] - b) / self.lengths[which, None, None]
        rough = self.rough[which]
        found = np.empty_like(distance)
        d = np.sqrt(5) * distance[~rough]
        found[~rough] = (1 + d + d**2 / 3) * np.exp(-d)
        d = np.sqrt(3) * distance[rough]
        found[rough] = (1 + d) * np.exp(-d)
        at, kink = self._kink[which], ~np.isnan(self._kink[which])
        bends = [_KINK * np.abs(places - at[kink, None]) for places in (a, b)]
        found[kink] += bends[0][:, :, None] * bends[1][:, None]
        trended = ~np.isnan(self._trend[which])
        if trended.any():
            here, there = (self._standard(places) for places in (a, b))
            found[trended] += self._trend[which][trended, None, None] ** 2 * (here.T @ there)
        return np.asarray(found)

    def _curves(self, places: Floats) -> list[Floats]:
        ratios = _ratios(places, self._low, self._high)
        return [np.asarray(trend(ratios), dtype=np.float64) for trend in self._trends]

    def _standard(self, places: Floats) -> Floats:
        """The trends with mean 0 and standard deviation 1 over the interval, (trends, places); one
        that is constant but for rounding is 0."""
        curves = zip(self._curves(places), self._levels, strict=True)
        return np.array(
            [
                (z - mean) / sd if sd > 1e-9 * max(abs(mean), 1e-9) else np.zeros_like(z)
                for z, (mean, sd) in curves
            ]
        )


def _mean(given: _Conditioned, ratios: ArrayLike, low: float, high: float) -> Floats:
    places = _places(np.asarray(ratios, dtype=np.float64), low, high)
    return np.asarray(given.offset + given.weights @ given.means(places))


def _check(x: Floats, y: Floats, low: float, high: float) -> None:
    if x.shape != y.shape or x.ndim != 1:
        raise InputError(f"ratios {x.shape} and scores {y.shape}: expected one of each per row")
    if x.size < 2:
        raise InputError(f"{x.size} scores are too few for a Gaussian process; 2 are needed")
    if not (np.all(np.isfinite(x) & (x > 0)) and np.all(np.isfinite(y))):
        raise InputError("every ratio must be positive and every score finite")
    if not 0 < low < high < np.inf:
        raise InputError(f"the interval must have 0 < low < high, got {low:g} to {high:g}")


def _places(ratios: Floats, low: float, high: float) -> Floats:
    """Places in [0, 1], even in log-ratio from `low` to `high`, same shape."""
    start, stop = np.log([low, high])
    return np.asarray((np.log(ratios) - start) / (stop - start))


def _ratios(places: Floats, low: float, high: float) -> Floats:
    """The inverse of `_places`, exact at both ends."""
    start, stop = np.log([low, high])
    inside = np.exp(start + places * (stop - start))
    return np.where(places <= 0, low, np.where(places >= 1, high, inside))


def _root(spread: Floats) -> Floats:
    """A factor whose product with its transpose is the covariance `spread`."""
    ridge = _JITTER * float(spread.diagonal().max())
    try:
        return np.asarray(np.linalg.cholesky(spread + ridge * np.eye(len(spread))))
    except np.linalg.LinAlgError:  # rounding: slower, and always defined
        values, vectors = np.linalg.eigh(spread)
        return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))


def _weights(volume: Floats, freedom: float | Floats, squares: Floats, prior: Floats) -> Floats:
    """Marginal likelihood times prior over the first axis, in units of the greatest."""
    log = -0.5 * (volume + freedom * np.log(squares)) + prior
    return np.asarray(np.exp(log - log.max(axis=0)))


def interpolated_argmax(values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """The argmax of curves of shape (curves, grid) as fractional indices, shape (curves,), and
    whether each is an end of the grid.

    Inside, it is the vertex of the parabola through the greatest value and its neighbours, far
    finer than the grid. The grid has three points or more.
    """
    at = np.argmax(values, axis=1)
    end = (at == 0) | (at == values.shape[1] - 1)
    inner = np.clip(at, 1, values.shape[1] - 2)
    rows = np.arange(len(at))
    left, middle, right = (values[rows, inner + step] for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.divide(0.5 * (left - right), bend, out=np.zeros_like(bend), where=bend < 0)
    return np.where(end, at, inner + np.clip(shift, -1, 1)), end
