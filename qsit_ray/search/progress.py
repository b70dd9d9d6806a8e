"""pure: how far a search has come: its trials by state, what they cost, the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from qsit_ray.search.estimate import makespan
from qsit_ray.search.trials import Point, TrialOutcome

State = Literal["waiting", "running", "completed", "failed"]


@dataclass(frozen=True)
class UnderWay:
    """A trial that runs: optimiser steps so far, and seconds that it has held its device."""

    steps: int = 0
    seconds: float = 0.0


@dataclass
class Progress:
    """The trials of one search: `total` of them, each of `longest(ratio)` steps at the most.

    `points` are those of a grid; what an adaptive search will try is not known. `wasted` are device
    seconds by the trial's name, of attempts that did not end well.
    """

    total: int
    longest: Callable[[float], int]
    points: Sequence[Point] = ()
    ended: dict[Point, TrialOutcome] = field(default_factory=dict)
    running: dict[Point, UnderWay] = field(default_factory=dict)
    stopped: dict[Point, UnderWay] = field(default_factory=dict)
    wasted: dict[str, float] = field(default_factory=dict)

    def start(self, point: Point) -> None:
        self.running[point] = self.stopped.pop(point, UnderWay())

    def report(self, point: Point, steps: int, seconds: float) -> None:
        self.running[point] = UnderWay(steps, seconds)

    def stop(self, point: Point) -> None:
        """The trial waits again, to go on from its checkpoint."""
        self.stopped[point] = self.running.pop(point, UnderWay())

    def end(self, outcome: TrialOutcome) -> None:
        self.stop(outcome.point)
        del self.stopped[outcome.point]
        self.ended[outcome.point] = outcome

    def states(self) -> dict[State, int]:
        failed = sum(row.status == "failed" for row in self.ended.values())
        return {
            "waiting": max(0, self.total - len(self.ended) - len(self.running)),
            "running": len(self.running),
            "completed": len(self.ended) - failed,
            "failed": failed,
        }

    def seconds_used(self) -> float:
        """Device seconds of trials that completed or run."""
        ended = sum(row.device_seconds or 0.0 for row in self.ended.values())
        return ended + sum(trial.seconds for trial in self._begun())

    def seconds_wasted(self) -> float:
        return sum(self.wasted.values())

    def seconds_left(self) -> float | None:
        """Seconds until the last trial ends, at the mean pace so far, with as many trials at once
        as run now; None while no trial has trained.

        A trial is taken to be as long, of the most that it may be, as those that completed were.
        """
        trained = [row for row in self.ended.values() if row.steps]
        steps = sum(row.steps or 0 for row in trained)
        steps += sum(trial.steps for trial in self._begun())
        if not steps:
            return None
        pace = self.seconds_used() / steps
        shares = [(row.steps or 0) / self.longest(row.ratio) for row in trained]
        share = sum(shares) / len(shares) if shares else 1.0
        rest = [
            max(0.0, share * self.longest(ratio) - trial.steps)
            for (ratio, _), trial in self.running.items()
        ]
        waiting = [share * each for each in sorted(self._waiting(), reverse=True)]
        return makespan([pace * each for each in [*rest, *waiting]], max(1, len(self.running)))

    def _begun(self) -> list[UnderWay]:
        return [*self.running.values(), *self.stopped.values()]

    def _waiting(self) -> list[float]:
        """The most steps of each trial that does not run."""
        if self.points:
            begun = {*self.ended, *self.running}
            return [float(self.longest(ratio)) for ratio, seed in self.points
                    if (ratio, seed) not in begun]  # fmt: skip
        known = [self.longest(ratio) for ratio, _ in [*self.ended, *self.running, *self.stopped]]
        return [sum(known) / len(known)] * self.states()["waiting"]
