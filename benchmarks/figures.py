"""pure: what a question of the suite finds: figures with their goals, and checks that both sides
did the same work."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Condition = str | int | float | bool
Point = tuple[float, float]


@dataclass(frozen=True)
class Spread:
    """The median of some values, and the least and the greatest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Goal:
    """A bound that a figure is to reach from below, or with `at_most` not to pass."""

    bound: float
    at_most: bool = False

    def is_met(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.bound:,g}"


@dataclass(frozen=True)
class Figure:
    """One row of the table. `value` is what the goal speaks of, in `unit`; where a rival ran too
    it is a ratio, and `ours` and `theirs` are the sides, in `of`."""

    what: str
    value: Spread
    unit: str
    goal: Goal | None = None
    rival: str | None = None
    ours: Spread | None = None
    theirs: Spread | None = None
    of: str = ""

    @property
    def is_met(self) -> bool | None:
        return None if self.goal is None else self.goal.is_met(self.value.median)


@dataclass(frozen=True)
class Check:
    """Whether both sides gave the same; `found` says how far they are apart."""

    what: str
    holds: bool
    found: str = ""


@dataclass(frozen=True)
class Curve:
    """How something grows with a size: `lines`, {name: its points}, both axes logarithmic. `x` and
    `y` are the axes' titles with their units; the line `limit` is drawn dashed."""

    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[Point]]
    limit: str | None = None


@dataclass(frozen=True)
class Found:
    """The answer to a question. `conditions`: sizes, threads and settings of both sides.
    `missing`: why nothing was measured. `curve`: its plot, of a question about growth."""

    figures: list[Figure] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    missing: str | None = None
    curve: Curve | None = None


def faster(
    what: str, rival: str, ours: Sequence[float], theirs: Sequence[float], goal: Goal | None
) -> Figure:
    """How many times as fast as the rival, from the seconds of both sides, round by round."""
    return ratio(what, rival, "s", ours, theirs, goal, invert=True)


def alone(what: str, unit: str, values: Sequence[float], goal: Goal | None = None) -> Figure:
    """A figure without a rival."""
    return Figure(what, Spread.of(values), unit, goal)


def ratio(
    what: str,
    rival: str,
    of: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    goal: Goal | None,
    invert: bool = False,
) -> Figure:
    """Ours over the rival's, or with `invert` the rival's over ours, of values in the unit `of`,
    round by round."""
    above, below = (theirs, ours) if invert else (ours, theirs)
    rounds = [a / b for a, b in zip(above, below, strict=True)]
    whole = statistics.median(above) / statistics.median(below)
    value = Spread(whole, min(*rounds, whole), max(*rounds, whole))
    return Figure(what, value, "×", goal, rival, Spread.of(ours), Spread.of(theirs), of)


def near(what: str, ours: Any, theirs: Any, tolerance: float) -> Check:
    """Numbers, or lists of them, that must be as near."""
    pairs = list(zip(_flat(ours), _flat(theirs), strict=False))
    same = len(_flat(ours)) == len(_flat(theirs)) and bool(pairs)
    apart = max((abs(a - b) for a, b in pairs), default=float("inf"))
    return Check(what, same and apart <= tolerance, f"{apart:.1e} apart, {tolerance:g} allowed")


def _flat(values: Any) -> list[float]:
    return [float(v) for v in (values if isinstance(values, Sequence) else [values])]
