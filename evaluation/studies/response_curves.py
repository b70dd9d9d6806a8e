"""pure: a family of simulated responses of a score to a ratio, to test searches and surrogates.

A response is a sum of bumps over log-ratio, none of them a polynomial in any coordinate. Scores are
accuracies in [0, 1]: one point is 0.01. `family("peak", 200, seed=0)` is the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Kind = Literal["peak", "plateau", "two peaks", "edge"]
KINDS: tuple[Kind, ...] = get_args(Kind)
POINT = 0.01  # scores are accuracies; regrets are reported in points
NOISES = (0.003, 0.006, 0.010)  # standard deviation of one run: .3, .6 and 1.0 points
LOW, HIGH = 0.1, 10.0  # the searched interval, as the paper's

Floats = NDArray[np.float64]

_FLOOR = 0.70
_START, _STOP = float(np.log(LOW)), float(np.log(HIGH))
_FINE = np.linspace(_START, _STOP, 20_001)


@dataclass(frozen=True)
class Bump:
    """Rises by `height` at `place` in log-ratio and falls as a hyperbolic secant, at speeds `left`
    and `right`; within `half` of its place it is flat."""

    height: float
    place: float
    left: float
    right: float
    half: float = 0.0

    def __call__(self, x: Floats) -> Floats:
        distance = np.maximum(np.abs(x - self.place) - self.half, 0.0)
        speed = np.where(x < self.place, self.left, self.right)
        return np.asarray(self.height / np.cosh(distance * speed))


@dataclass(frozen=True)
class Curve:
    """One response over ratios from `LOW` to `HIGH`."""

    kind: Kind
    bumps: tuple[Bump, ...]

    def truth(self, ratios: ArrayLike) -> Floats:
        """The score without noise at `ratios`, same shape."""
        return self._at(np.log(np.asarray(ratios, dtype=np.float64)))

    def regret(self, ratios: ArrayLike) -> Floats:
        """The loss at `ratios` against the best ratio, same shape, 0 or more."""
        return np.maximum(self.truth(self.argmax) - self.truth(ratios), 0.0)

    @cached_property
    def top(self) -> tuple[float, float]:
        """The range of best ratios: all of a plateau, else twice the same ratio."""
        bump = self.bumps[0]
        if self.kind == "two peaks":
            # The top of the parabola around the best fine point.
            values = self._at(_FINE)
            at = int(np.clip(np.argmax(values), 1, _FINE.size - 2))
            left, middle, right = values[at - 1 : at + 2]
            shift = 0.5 * (left - right) / (left - 2 * middle + right)
            best = _ratio(float(_FINE[at] + shift * (_FINE[1] - _FINE[0])))
            return best, best
        first, last = bump.place - bump.half, bump.place + bump.half
        return _ratio(first), _ratio(last)

    @property
    def argmax(self) -> float:
        """The best ratio; of a plateau its middle in log-ratio."""
        low, high = self.top
        return float(np.sqrt(low * high)) if low < high else low

    def covered(self, low: float, high: float) -> bool:
        """True where an interval of ratios includes a best one."""
        return low <= self.top[1] and self.top[0] <= high

    def observed(self, ratios: ArrayLike, noise: float, rng: np.random.Generator) -> Floats:
        """Scores of one run at each of `ratios`, same shape."""
        truth = self.truth(ratios)
        return truth + noise * rng.standard_normal(truth.shape)

    def _at(self, x: Floats) -> Floats:
        return np.asarray(_FLOOR + np.sum([bump(x) for bump in self.bumps], axis=0))


def family(kind: Kind, count: int, seed: int = 0) -> list[Curve]:
    """`count` curves of a kind; the first of a longer family are those of a shorter one.

    `peak`: one smooth peak of 2 to 5 points, its place log-uniform from 0.2 to 5, its sides up to
    2.7 times unequally steep. `plateau`: flat over a factor of 2.7 to 7.4, and falling on both
    sides. `two peaks`: the lower is 0.2 to 1 point under the higher, a factor of 7 to 20 away.
    `edge`: still rising at one end of the interval.
    """
    return [_curve(kind, np.random.default_rng([seed, KINDS.index(kind), i])) for i in range(count)]


def _curve(kind: Kind, rng: np.random.Generator) -> Curve:
    height = rng.uniform(0.02, 0.05)
    left, right = np.exp(rng.uniform(np.log(0.45), np.log(1.2), 2))
    if kind == "peak":
        place = rng.uniform(np.log(0.2), np.log(5))
        return Curve(kind, (Bump(height, place, left, right),))
    if kind == "plateau":
        half = rng.uniform(0.5, 1.0)
        place = rng.uniform(_START + half + 0.4, _STOP - half - 0.4)
        return Curve(kind, (Bump(height, place, left + 0.4, right + 0.4, half),))
    if kind == "edge":
        beyond = rng.uniform(0.1, 1.0)
        place = _STOP + beyond if rng.random() < 0.5 else _START - beyond
        return Curve(kind, (Bump(height, place, left, right),))
    apart = rng.uniform(2.0, 3.0)
    first = rng.uniform(_START + 0.4, _STOP - apart - 0.4)
    heights = rng.permutation([height, height - rng.uniform(0.002, 0.010)]).tolist()
    here, there = rng.uniform(1.8, 2.6, 2)
    left_peak = Bump(heights[0], first, here, here)
    right_peak = Bump(heights[1], first + apart, there, there)
    return Curve(kind, (left_peak, right_peak))


def _ratio(x: float) -> float:
    """The ratio at log-ratio `x`; beyond the searched interval, its end."""
    return float(np.clip(np.exp(x), LOW, HIGH))
