"""pure: an adaptive search: the next ratios to try from the scores so far, and when to stop.

Everything is a function of the settings, the interval, the seeds and the scores: an interrupted
search resumes exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import optuna
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from qsit_ray.config.search import CANDIDATES, Adaptive
from qsit_ray.search.trials import Point
from qsit_ray.surrogate.evidence import Evidence, trends
from qsit_ray.surrogate.gaussian_process import Posterior, posterior

Observed = tuple[float, int, float | None]
Floats = NDArray[np.float64]

CONFIDENCE = 0.95
DRAWS = 1000
ENOUGH = 3  # scores before the response is asked
LEAST_SPREAD = 3  # both ends and a point between them: no response shows with fewer
_NODES, _WEIGHTS = hermegauss(9)


@dataclass(frozen=True)
class Progress:
    """The state of a search after `trials` have ended, with a score or without.

    `best`: the ratio with the greatest mean score, None before three scores. `regret_left`: its
    greatest loss against the true best, with probability CONFIDENCE, in units of the score.
    `over`: the limit that ended the search, None before.
    """

    trials: int
    best: float | None
    regret_left: float | None
    over: Literal["tolerance", "budget"] | None


@dataclass(frozen=True)
class Rounds:
    """The points of one axis from ratio `low` to `high`, round after round.

    Ratios are on a grid of four-digit numbers even in log-ratio. Trials take `seeds` in turn, and
    a repeated ratio takes one that it has not had. `seed` is the run's. `evidence`: what is known
    of the response before the first score.

    `done` is all earlier points in the order proposed, with their scores: None where a trial
    failed; a score that is not finite counts as None.
    """

    settings: Adaptive
    low: float
    high: float
    seeds: tuple[int, ...]
    seed: int
    evidence: tuple[Evidence, ...] = ()

    def propose(self, done: Iterable[Observed]) -> list[Point]:
        """The (ratio, seed) points of the next round, none when the search is over."""
        done = _finite(done)
        if self.progress(done).over:
            return []
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = KnowledgeGradient(
            max(self.settings.batch, LEAST_SPREAD), len(self.seeds), self.evidence
        )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        interval = FloatDistribution(self.low, self.high, log=True)
        for ratio, _, score in done:
            study.add_trial(
                optuna.trial.create_trial(
                    params={"ratio": ratio},
                    distributions={"ratio": interval},
                    value=score,
                    state=TrialState.FAIL if score is None else TrialState.COMPLETE,
                )
            )
        points: list[Point] = [(ratio, used) for ratio, used, _ in done]
        for _ in range(min(self.settings.batch, self.settings.trials - len(done))):
            ratio = study.ask({"ratio": interval}).params["ratio"]
            points.append((ratio, _unused(ratio, self.seeds, points)))
        return points[len(done) :]

    def progress(self, done: Iterable[Observed]) -> Progress:
        """The state of the search after the trials `done`."""
        done = _finite(done)
        ratios = tuple(ratio for ratio, _, score in done if score is not None)
        scores = tuple(score for _, _, score in done if score is not None)
        best, left = None, None
        if len(scores) >= ENOUGH:
            best, left = standing(ratios, scores, self.low, self.high, self.seed, self.evidence)
        over: Literal["tolerance", "budget"] | None = None
        if left is not None and left <= self.settings.tolerance:
            over = "tolerance"
        elif len(done) >= self.settings.trials:
            over = "budget"
        return Progress(len(done), best, left, over)


def _finite(done: Iterable[Observed]) -> list[Observed]:
    return [
        (ratio, seed, score if score is not None and np.isfinite(score) else None)
        for ratio, seed, score in done
    ]


def _unused(ratio: float, seeds: Sequence[int], points: Sequence[Point]) -> int:
    """The seed whose turn it is, or the next that this ratio has not had."""
    had = {used for other, used in points if other == ratio}
    turn = len(points) % len(seeds)
    return next(s for s in [*seeds[turn:], *seeds[:turn]] if s not in had)


class KnowledgeGradient(optuna.samplers.BaseSampler):
    """Samples one log-uniform parameter of a study that maximises.

    The first `spread` trials are even in its logarithm, ends included. Running trials count as if
    their scores were the predicted means, so that a batch spreads out. No value is proposed more
    than `repeats` times, failed trials included. Nothing is random: the same trials give the same
    proposal.
    """

    def __init__(self, spread: int, repeats: int, evidence: tuple[Evidence, ...] = ()):
        self.spread = spread
        self.repeats = repeats
        self.evidence = evidence

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, float]:
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
            wanted = (trial.number % self.spread) / (self.spread - 1)
            worth = -np.abs(np.linspace(0, 1, CANDIDATES) - wanted)
        else:
            known = response(
                tuple(t.params[param_name] for t in seen),
                tuple(t.values[0] for t in seen),
                distribution.low,
                distribution.high,
                self.evidence,
            )
            pending = [
                int(np.argmin(np.abs(np.log(ratios) - np.log(t.params[param_name]))))
                for t in others
                if t.state == TrialState.RUNNING
            ]
            # Rounded, so that places that tie on one machine tie on every machine.
            worth = np.round(knowledge_gradient(known, pending) / known.noise, 9)
        return float(ratios[np.argmax(np.where(free, worth, -np.inf))])


def places(low: float, high: float) -> Floats:
    """The ratios to choose from, shape (CANDIDATES,): four digits; the ends are exact."""
    inner = [float(f"{ratio:.4g}") for ratio in np.geomspace(low, high, CANDIDATES)[1:-1]]
    return np.clip([low, *inner, high], low, high)


@lru_cache(maxsize=1)  # a batch is proposed trial by trial, all from the same scores
def response(
    ratios: tuple[float, ...],
    scores: tuple[float, ...],
    low: float,
    high: float,
    evidence: tuple[Evidence, ...] = (),
) -> Posterior:
    """The response at `places`, given the scores of one trial or more at each of `ratios`."""
    return posterior(ratios, scores, low, high, points=CANDIDATES, trends=trends(evidence))


def standing(
    ratios: Sequence[float],
    scores: Sequence[float],
    low: float,
    high: float,
    seed: int,
    evidence: tuple[Evidence, ...] = (),
) -> tuple[float, float]:
    """The ratio with the greatest mean, and its greatest loss against the true best with
    probability CONFIDENCE, in units of the score."""
    known = response(tuple(ratios), tuple(scores), low, high, evidence)
    at = int(np.argmax(known.mean))
    drawn = known.samples(DRAWS, seed)
    left = float(np.quantile(drawn.max(axis=1) - drawn[:, at], CONFIDENCE))
    return known.optimum, left


def knowledge_gradient(known: Posterior, pending: Sequence[int]) -> Floats:
    """The expected increase of the greatest mean by one run at each place, shape (places,).

    `pending`: indices of places whose runs have not ended. Their scores are taken to be the mean,
    which does not change the mean and narrows the covariance.
    """
    covariance, noise = known.covariance, known.noise**2
    for place in pending:
        row = covariance[place]
        covariance = covariance - np.outer(row, row) / (row[place] + noise)
    moves = covariance / np.sqrt(np.maximum(np.diagonal(covariance), 0) + noise)
    # moves[i, j]: change of the mean at i by one standard deviation of a score at j.
    greatest = (known.mean[:, None, None] + moves[:, :, None] * _NODES).max(axis=0)
    gradient: Floats = greatest @ (_WEIGHTS / _WEIGHTS.sum()) - known.mean.max()
    return gradient
