"""pure: an optuna sampler that proposes where one more noisy run helps most to find the best ratio.

Ratios are proposed by their knowledge gradient (Frazier, Powell and Dayanik 2009): how much higher
the greatest mean of the response is expected to be once a run there has been seen. The response is
that of `surrogate.gaussian_process`: runs are known to be noisy, and a ratio may be asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from qsit_ray.surrogate.gaussian_process import Posterior, posterior

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
