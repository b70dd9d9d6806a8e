"""pure: the best mixture of three pools or more, from a table of runs: a Gaussian process over
their shares.

The response is a constant plus a smooth function (Matern 5/2 covariance) of the square roots of the
shares, whose distance is Hellinger's: a pool that appears matters more than one that grows. Length
and noise are averaged over, as in `gaussian_process`. Nothing is said of mixtures beyond those that
were tried: the best one is looked for between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsit_ray import tables
from qsit_ray.errors import InputError
from qsit_ray.surrogate.coordinates import Floats
from qsit_ray.surrogate.observations import direction

LEAST_ROWS = 6
MOST_ROWS = 1000
MOST_VALUE = 1e100  # squares of greater numbers overflow
MARGIN = 1.645  # standard errors, by which a curve must predict better than a constant
_LENGTHS = np.geomspace(0.15, 3.0, 8)
_VARIANCES = np.geomspace(0.1, 1e4, 9)  # in units of the noise's
# Pairs of length and variance below these shares of the greatest weight are ignored: for the
# response, and where a mixture is omitted, which may make another pair the likeliest.
_NEGLIGIBLE, _PLAUSIBLE = 1e-2, 1e-4
_CANDIDATES, _NARROWED, _DRAWS = 3000, 400, 1000


@dataclass(frozen=True)
class MixtureFit:
    """The best mixture between those tried, and how sure it is.

    `shares`: of the columns `names`, adding up to 1. `intervals`: of each share, over responses
    drawn from the posterior. `score`: predicted there. `regret_left`: the most that the mixture
    loses against the best one, with probability `confidence`. `tried`: the row, from 1, whose
    mixture is predicted best. `error` and `constant`: leave-one-mixture-out root mean square errors
    of the process and of a constant; where the first is not less by more than chance, the table
    tells no mixture from another (`told`).
    """

    names: tuple[str, ...]
    shares: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]
    confidence: float
    score: float
    regret_left: float
    tried: int
    tried_score: float
    noise: float
    error: float
    constant: float
    told: bool
    rows: int
    dropped: int

    @property
    def verdict(self) -> str:
        sure = f"{100 * self.confidence:g} %"
        if not self.told:
            return (
                f"No mixture stands out: omitted ones are predicted with an error of "
                f"{self.error:.2g}, by a constant with {self.constant:.2g}. Add runs or repeats."
            )
        return (
            f"The best mixture between those tried has a predicted score of {self.score:.4g}, and "
            f"loses at most {self.regret_left:.2g} with probability {sure}. Of the rows, "
            f"{self.tried} is the best, with {self.tried_score:.4g}."
        )

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}


def fit_table(
    path: Path,
    names: Sequence[str],
    score: str | None,
    minimize: bool | None,
    seed: int = 0,
    confidence: float = 0.95,
) -> MixtureFit:
    """Fit the columns of a table. Weights need not add up to 1.

    Raises InputError naming the row of a weight that is negative or of a mixture without any, and
    where a column looks like a loss and `minimize` is not given.
    """
    table = tables.read(path)
    if len(set(names)) < len(names):
        raise InputError(f"--x {','.join(names)}: a column occurs twice")
    score = score or table.first_of("--score", ["score"])
    minimize = direction(path, score, minimize)
    weights = np.column_stack([table.numbers(name) for name in names])
    wrong = (weights < 0).any(axis=1) | (weights.sum(axis=1) <= 0)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{path}, {table.place(row)}: weights {weights[row].tolist()}; none may be negative, "
            "and one must be positive"
        )
    try:
        return fit_mixtures(names, weights, table.sparse_numbers(score), minimize, seed, confidence)
    except InputError as error:
        raise InputError(f"{path}, column {score!r}: {error}") from None


def fit_mixtures(
    names: Sequence[str],
    weights: Floats,
    scores: Floats,
    minimize: bool = False,
    seed: int = 0,
    confidence: float = 0.95,
) -> MixtureFit:
    """Fit `scores`, shape (rows,), over the shares of `weights`, shape (rows, pools). Rows whose
    score is not finite are dropped. Raises InputError for too few rows or mixtures, too many rows,
    and a confidence out of range."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence {confidence} must be between 0 and 1")
    extreme = max(np.nanmax(np.abs(scores), initial=0), np.nanmax(weights, initial=0))
    if np.isfinite(extreme) and extreme > MOST_VALUE:
        raise InputError(f"a score or weight is beyond {MOST_VALUE:g}, where nothing is computed")
    known = np.flatnonzero(np.isfinite(scores))
    shares = (weights / weights.sum(axis=1, keepdims=True))[known]
    sign = -1.0 if minimize else 1.0
    y = sign * scores[known]
    if not LEAST_ROWS <= known.size <= MOST_ROWS:
        raise InputError(
            f"{known.size} rows with a score; from {LEAST_ROWS} to {MOST_ROWS} can be fitted"
        )
    distinct, group = np.unique(shares.round(9), axis=0, return_inverse=True)
    group = group.ravel()
    if len(distinct) <= len(names):
        raise InputError(f"{len(distinct)} different mixtures; more than {len(names)} are needed")
    process = _Process(shares, y)
    chance = np.random.default_rng(seed)
    candidates = _between(shares, chance)
    mean, sd = process.at(candidates)
    near = np.argsort(-(mean + 2 * sd), kind="stable")[:_NARROWED]
    # Once more among the promising ones: a best mixture is found to a few thousandths.
    candidates = _between(candidates[near], chance)
    mean, sd = process.at(candidates)
    kept = np.argsort(-(mean + 2 * sd), kind="stable")[:_NARROWED]
    kept = np.union1d(kept, [int(np.argmax(mean))])
    drawn = process.samples(candidates[kept], _DRAWS, chance)
    best = int(np.argmax(mean[kept]))
    tail = (1 - confidence) / 2
    peaks = candidates[kept][np.argmax(drawn, axis=1)]
    lower, upper = np.quantile(peaks, [tail, 1 - tail], axis=0)
    at = candidates[kept][best]
    lost = drawn.max(axis=1) - drawn[:, best]
    wrong, flat = (each**2 for each in process.errors(group))
    gain = np.bincount(group, flat - wrong) / np.bincount(group)
    told = gain.mean() > MARGIN * gain.std(ddof=1) / np.sqrt(gain.size)
    tried = process.at(shares)[0]
    row = int(np.argmax(tried))
    return MixtureFit(
        names=tuple(names),
        shares=tuple(at.tolist()),
        intervals=tuple(
            (float(min(a, s)), float(max(b, s))) for a, b, s in zip(lower, upper, at, strict=True)
        ),
        confidence=confidence,
        score=float(sign * mean[kept][best]),
        regret_left=float(np.quantile(lost, confidence)),
        tried=int(known[row]) + 1,
        tried_score=float(sign * tried[row]),
        noise=process.noise,
        error=float(np.sqrt(wrong.mean())),
        constant=float(np.sqrt(flat.mean())),
        told=bool(told),
        rows=known.size,
        dropped=scores.size - known.size,
    )


def _between(shares: Floats, chance: np.random.Generator) -> Floats:
    """These mixtures, and random ones between three of them."""
    chosen = shares[chance.integers(len(shares), size=(_CANDIDATES, 3))]
    parts = chance.dirichlet(np.ones(3), size=_CANDIDATES)
    return np.concatenate([shares, np.einsum("nk,nkp->np", parts, chosen)])


@dataclass(frozen=True)
class _Pair:
    """The process of one length and one variance, which is in units of the noise variance.

    `level`: the constant. `noise`: estimate of the noise variance. `values` and `vectors`: of the
    covariance of the scores, so that its inverse is (vectors / values) @ vectors.T. `volume`:
    log |K| + log 1' K^-1 1.
    """

    length: float
    variance: float
    level: float
    noise: float
    values: Floats
    vectors: Floats
    volume: float

    def at(self, places: Floats, shares: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
        """At `places`: the mean; their covariances with the eigenvectors; what of the constant the
        scores leave unknown."""
        cross = self.variance * _matern(places, shares, self.length) @ self.vectors
        ones = self.vectors.sum(axis=0)
        residual = self.vectors.T @ y - self.level * ones
        mean = self.level + cross @ (residual / self.values)
        unknown = (1 - cross @ (ones / self.values)) / np.sqrt(np.sum(ones**2 / self.values))
        return mean, cross, unknown


class _Process:
    """The process given scores `y`, shape (rows,), at `shares`, averaged over length and noise."""

    def __init__(self, shares: Floats, y: Floats):
        self.shares, self.offset = shares, float(y.mean())
        self.y = y - self.offset
        rows = len(y)
        least = rows * (1e-12 * max(1.0, abs(self.offset))) ** 2
        pairs, logs = [], []
        for length in _LENGTHS:
            values, vectors = np.linalg.eigh(_matern(shares, shares, length))
            ones, along = vectors.sum(axis=0), vectors.T @ self.y
            for variance in _VARIANCES:
                inner = 1 + variance * np.maximum(values, 0)
                total = float(np.sum(ones**2 / inner))
                level = float(np.sum(ones * along / inner)) / total
                squares = max(float(np.sum((along - level * ones) ** 2 / inner)), least)
                volume = float(np.log(inner).sum() + np.log(total))
                logs.append(-0.5 * (volume + (rows - 1) * np.log(squares)))
                noise = squares / (rows - 1)
                pairs.append(_Pair(length, variance, level, noise, inner, vectors, volume))
        weights = np.exp(np.array(logs) - max(logs))
        self.plausible = [pairs[each] for each in np.flatnonzero(weights > _PLAUSIBLE)]
        used = np.flatnonzero(weights > _NEGLIGIBLE)
        self.pairs = [pairs[each] for each in used]
        self.weights = weights[used] / weights[used].sum()
        self.noise = float(np.sqrt(self.weights @ [pair.noise for pair in self.pairs]))

    def at(self, places: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the response, shape (places,)."""
        means, squares = [], []
        for pair in self.pairs:
            mean, cross, unknown = pair.at(places, self.shares, self.y)
            spread = pair.variance - np.sum(cross**2 / pair.values, axis=1) + unknown**2
            means.append(mean)
            squares.append(pair.noise * np.maximum(spread, 0) + mean**2)
        mean = self.weights @ np.array(means)
        variance = np.maximum(self.weights @ np.array(squares) - mean**2, 0)
        return self.offset + mean, np.sqrt(variance)

    def samples(self, places: Floats, count: int, chance: np.random.Generator) -> Floats:
        """Responses drawn from the posterior, shape (count, places)."""
        drawn = []
        counts = chance.multinomial(count, self.weights)
        for number, pair in zip(counts, self.pairs, strict=True):
            if not number:
                continue
            mean, cross, unknown = pair.at(places, self.shares, self.y)
            spread = pair.variance * _matern(places, places, pair.length)
            spread += np.outer(unknown, unknown) - (cross / pair.values) @ cross.T
            values, basis = np.linalg.eigh(spread)
            factor = basis * np.sqrt(np.maximum(values, 0))
            freedom = len(self.y) - 1
            scale = np.sqrt(pair.noise * freedom / chance.chisquare(freedom, number))
            normal = chance.standard_normal((number, len(places)))
            drawn.append(self.offset + mean + scale[:, None] * (normal @ factor.T))
        return np.concatenate(drawn)

    def errors(self, group: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """The errors at omitted mixtures, shape (rows,), of the process and of a constant; `group`
        numbers each row's mixture. Length and noise are weighted without the omitted rows too."""
        rows, groups = len(self.y), int(group.max()) + 1
        members = [np.flatnonzero(group == number) for number in range(groups)]
        wrong = np.empty((len(self.plausible), rows))
        logs = np.empty((len(self.plausible), groups))
        for place, pair in enumerate(self.plausible):
            inverse = (pair.vectors / pair.values) @ pair.vectors.T
            sums = inverse.sum(axis=1)
            projected = inverse - np.outer(sums, sums) / sums.sum()
            alpha = inverse @ (self.y - pair.level)
            for number, of in enumerate(members):
                own = projected[np.ix_(of, of)]
                error = np.linalg.solve(own, alpha[of])
                wrong[place, of] = error
                squares = max(pair.noise * (rows - 1) - float(alpha[of] @ error), 1e-300)
                grown = pair.volume + np.linalg.slogdet(own)[1]
                logs[place, number] = -0.5 * (grown + (rows - 1 - of.size) * np.log(squares))
        weights = np.exp(logs - logs.max(axis=0))
        weights /= weights.sum(axis=0)
        counts = np.bincount(group)[group]
        own_sum = (np.bincount(group, self.y))[group]
        flat = self.y - (self.y.sum() - own_sum) / (rows - counts)
        return np.sum(weights[:, group] * wrong, axis=0), np.asarray(flat)


def _matern(a: Floats, b: Floats, length: float) -> Floats:
    here, there = np.sqrt(a), np.sqrt(b)
    # |x - y|^2 = 2 - 2 x.y, since square roots of shares have length 1.
    distance = np.sqrt(5 * np.maximum(2 - 2 * here @ there.T, 0)) / length
    return np.asarray((1 + distance + distance**2 / 3) * np.exp(-distance))
