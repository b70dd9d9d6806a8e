"""pure: an adaptive search: the next ratios to try from the scores so far, and when to stop.

Everything is a function of the settings, the interval, the seeds and the scores: a search that was
interrupted goes on exactly as it would have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from qsit_ray.config.search import Adaptive
from qsit_ray.errors import InputError
from qsit_ray.surrogate.gaussian_process import Posterior, posterior

Point = tuple[float, int]
Observed = tuple[float, int, float | None]

CONFIDENCE = 0.95
DRAWS = 1000
# Two trials at the ends and one between them are the least that show a response.
_LEAST_SPREAD = 3


@dataclass(frozen=True)
class Progress:
    """Where a search stands. `best`: the ratio with the greatest mean score, null before three
    scores are there, and then `regret_left`: what it may lose against the true best at the most,
    with probability CONFIDENCE, in units of the score. `over`: why no trial follows, null while
    some do. `trials`: those that ended, with a score or without."""

    trials: int
    best: float | None
    regret_left: float | None
    over: Literal["tolerance", "budget"] | None


def propose(
    settings: Adaptive,
    low: float,
    high: float,
    seeds: Sequence[int],
    seed: int,
    done: Iterable[Observed],
) -> list[Point]:
    """The (ratio, seed) points of the next round, none when the search is over.

    `done`: all earlier points in the order proposed, with their scores; None where a trial failed,
    as which a score that is no number counts too. Ratios lie from `low` to `high`, on a grid of
    four-digit numbers even in log-ratio. Trials take `seeds` in turn, and a ratio that comes again
    one that it has not had.

    Raises InputError when there are fewer such points than `settings.trials`.
    """
    import optuna  # lazily: half a second

    done = _finite(done)
    most = PLACES * len(seeds)
    if settings.trials > most:
        raise InputError(
            f"search.adaptive.trials: {settings.trials}; {len(seeds)} seeds allow {most} at the "
            "most: give the axis more seeds"
        )
    if progress(settings, low, high, seed, done).over:
        return []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = KnowledgeGradient(max(settings.batch, _LEAST_SPREAD), repeats=len(seeds))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    interval = optuna.distributions.FloatDistribution(low, high, log=True)
    for ratio, _, score in done:
        state = optuna.trial.TrialState.FAIL if score is None else optuna.trial.TrialState.COMPLETE
        study.add_trial(
            optuna.trial.create_trial(
                params={"ratio": ratio},
                distributions={"ratio": interval},
                value=score,
                state=state,
            )
        )
    points: list[Point] = [(ratio, used) for ratio, used, _ in done]
    for _ in range(min(settings.batch, settings.trials - len(done))):
        ratio = study.ask({"ratio": interval}).params["ratio"]
        points.append((ratio, _unused(ratio, seeds, points)))
    return points[len(done) :]


def progress(
    settings: Adaptive, low: float, high: float, seed: int, done: Iterable[Observed]
) -> Progress:
    """Where a search stands after the trials `done`; arguments as `propose`."""
    done = _finite(done)
    ratios = [ratio for ratio, _, score in done if score is not None]
    scores = [score for _, _, score in done if score is not None]
    best, left = None, None
    if len(scores) >= ENOUGH:
        known = response(ratios, scores, low, high)
        at = int(np.argmax(known.mean))
        drawn = known.samples(DRAWS, seed)
        best = known.optimum
        left = float(np.quantile(drawn.max(axis=1) - drawn[:, at], CONFIDENCE))
    over: Literal["tolerance", "budget"] | None = None
    if left is not None and left <= settings.tolerance:
        over = "tolerance"
    elif len(done) >= settings.trials:
        over = "budget"
    return Progress(len(done), best, left, over)


def _finite(done: Iterable[Observed]) -> list[Observed]:
    """Scores that are no number become None."""
    return [
        (ratio, seed, score if score is not None and np.isfinite(score) else None)
        for ratio, seed, score in done
    ]


def _unused(ratio: float, seeds: Sequence[int], points: Sequence[Point]) -> int:
    """The seed whose turn it is, or the next that this ratio has not had."""
    had = {used for other, used in points if other == ratio}
    turn = len(points) % len(seeds)
    return next(s for s in [*seeds[turn:], *seeds[:turn]] if s not in had)


Floats = NDArray[np.float64]

PLACES = 41  # ratios to choose from, even in log-ratio: 12 % apart on the paper's interval
ENOUGH = 3  # scores before the response is asked
_NODES, _WEIGHTS = hermegauss(9)


class KnowledgeGradient(BaseSampler):
    """Samples one log-uniform parameter, which the study maximises over.

    The first `spread` trials lie evenly in its logarithm, ends included. Trials that still run
    count as seen without a surprise, so that a batch spreads out. No value is proposed more than
    `repeats` times, failed trials included. Nothing is random: the same trials make the same
    proposal.
    """

    def __init__(self, spread: int, repeats: int):
        self.spread = spread
        self.repeats = repeats

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, distribution: BaseDistribution
    ) -> float:
        assert isinstance(distribution, FloatDistribution) and distribution.log
        ratios = places(distribution.low, distribution.high)
        others = [t for t in study.get_trials(deepcopy=False) if param_name in t.params]
        taken = [t.params[param_name] for t in others]
        free = np.array([taken.count(ratio) < self.repeats for ratio in ratios])
        seen = [t for t in others if t.state == TrialState.COMPLETE]
        if trial.number < self.spread or len(seen) < ENOUGH:
            wanted = _evenly(trial.number, self.spread)
            worth = -np.abs(np.linspace(0, 1, PLACES) - wanted)
        else:
            known = response(
                [t.params[param_name] for t in seen],
                [t.values[0] for t in seen],
                distribution.low,
                distribution.high,
            )
            pending = [
                int(np.argmin(np.abs(np.log(ratios) - np.log(t.params[param_name]))))
                for t in others
                if t.state == TrialState.RUNNING
            ]
            # Places that tie but for rounding must tie on every machine.
            worth = np.round(knowledge_gradient(known, pending) / known.noise, 9)
        return float(ratios[np.argmax(np.where(free, worth, -np.inf))])


def places(low: float, high: float) -> Floats:
    """The ratios to choose from, shape (PLACES,): four digits, but for the ends as they are."""
    inner = [float(f"{ratio:.4g}") for ratio in np.geomspace(low, high, PLACES)[1:-1]]
    return np.clip([low, *inner, high], low, high)


def response(
    ratios: Sequence[float], scores: Sequence[float], low: float, high: float
) -> Posterior:
    """The response at `places`, given the scores of one trial or more at each of `ratios`."""
    return _remembered(tuple(ratios), tuple(scores), low, high)


@lru_cache(maxsize=1)
def _remembered(
    ratios: tuple[float, ...], scores: tuple[float, ...], low: float, high: float
) -> Posterior:
    # A batch is proposed trial by trial, all from the same scores.
    return posterior(ratios, scores, low, high, points=PLACES)


def knowledge_gradient(known: Posterior, pending: Sequence[int]) -> Floats:
    """What a run at each place adds to the greatest mean, as expected, shape (places,).

    `pending`: indices of places whose runs have not ended. Their scores are taken to be the mean,
    which leaves it where it is and narrows the covariance.
    """
    covariance, noise = known.covariance, known.noise**2
    for place in pending:
        row = covariance[place]
        covariance = covariance - np.outer(row, row) / (row[place] + noise)
    moves = covariance / np.sqrt(np.maximum(np.diagonal(covariance), 0) + noise)
    # moves[i, j]: how far the mean at i goes with one standard deviation of a score at j.
    greatest = (known.mean[:, None, None] + moves[:, :, None] * _NODES).max(axis=0)
    return greatest @ (_WEIGHTS / _WEIGHTS.sum()) - known.mean.max()


def _evenly(number: int, spread: int) -> float:
    """The place in [0, 1] of trial `number` of the spread; later ones go round again."""
    return 0.5 if spread == 1 else (number % spread) / (spread - 1)
