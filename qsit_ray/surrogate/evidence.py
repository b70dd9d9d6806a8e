"""pure: measurements beside the scores of a search that its response may follow: the losses of the
same trials, of shorter ones, or scores of an earlier run.

Each becomes a trend of the Gaussian process with an unknown factor, so that its own bias and scale
do no harm, and one that says nothing gets no weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qsit_ray.surrogate.coordinates import Floats
from qsit_ray.surrogate.gaussian_process import Trend, mean_curve
from qsit_ray.surrogate.observations import Observations

LEAST = 3
"""Distinct ratios from which a curve is drawn."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Measurements at ratios, such as log losses: `seen` has them as scores. `same_trials`: they
    are of the trials whose score is fitted, so that leaving a ratio out leaves theirs out too."""

    name: str
    seen: Observations
    same_trials: bool = False

    @cached_property
    def curve(self) -> Trend:
        """Their smoothed curve; beyond their ratios it is constant."""
        return self._curve(np.ones(self.seen.scores.size, dtype=bool))

    @property
    def is_enough(self) -> bool:
        return self.seen.distinct.size >= LEAST

    def curve_without(self, ratio: float) -> Trend:
        """The same for the score at an omitted ratio, which is no part of it."""
        return self._curve(self.seen.ratios != ratio) if self.same_trials else self.curve

    def _curve(self, kept: NDArray[np.bool_]) -> Trend:
        ratios, low, high = self.seen.ratios[kept], self.seen.low, self.seen.high
        curve = mean_curve(ratios, self.seen.scores[kept], low, high)
        return lambda at: curve(np.clip(at, low, high))


def trends(evidence: Sequence[Evidence]) -> list[Trend]:
    return [each.curve for each in evidence]


def leave_one_out_errors(seen: Observations, evidence: Sequence[Evidence]) -> Floats:
    """Each score less its prediction from the scores at other ratios and the evidence, without what
    the trials at its ratio measured; shape (rows,)."""
    errors = np.empty(seen.scores.size)
    for ratio in seen.distinct:
        here = seen.ratios == ratio
        others = [each.curve_without(ratio) for each in evidence]
        curve = mean_curve(seen.ratios[~here], seen.scores[~here], seen.low, seen.high, others)
        errors[here] = seen.scores[here] - curve(np.array([ratio]))
    return errors
