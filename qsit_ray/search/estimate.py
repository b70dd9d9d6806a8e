"""pure: what a run cost: device-seconds by stage, search and trial, used and wasted."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qsit_ray.config.config import Config
from qsit_ray.errors import InputError
from qsit_ray.mixture import AXES, Axis
from qsit_ray.search.trials import mixtures

# A800 GPU-hours of Algorithm 1 as the paper gives them: all proxies, the primary's run, and the
# same search done with the primary.
PAPER_HOURS = {"search": 720.0, "primary": 72.0, "search_with_primary": 2800.0}

# Rows of a trial on axis B don't depend on D2:D3, which only axis A's fit will tell.
ANY_RATIO = 1.0


@dataclass(frozen=True)
class Trials:
    """The trials of one axis, or the final proxies: most rows that each may train, repeats as
    often as they are used."""

    rows: list[int]

    def hours(self, rows_per_second: float) -> float:
        return sum(self.rows) / rows_per_second / 3600

    def wall_hours(self, rows_per_second: float, slots: int) -> float:
        return makespan(sorted(self.rows, reverse=True), slots) / rows_per_second / 3600


def planned(config: Config, sizes: Mapping[str, int]) -> dict[str, Trials]:
    """The trials of each axis at their longest. An adaptive search may take its trials anywhere on
    the axis: each is counted at the axis' mean over the grid.

    Raises InputError for a ratio that asks for more rows than `search.max_repeats` allows.
    """
    search = config.search
    found: dict[str, Trials] = {}
    if config.mix is None:
        _check_ends(config, sizes)
    for axis in AXES if config.mix is None else ():
        space = config.space(axis)
        at = mixtures(axis, space.ratios, sizes, _ratio_general(axis), search.max_repeats)
        rows = [_longest(config, mixture.total) for mixture in at.values()]
        if search.adaptive is None:
            found[axis] = Trials([n for n in rows for _ in space.seeds])
        else:
            found[axis] = Trials([round(sum(rows) / len(rows))] * search.adaptive.trials)
    return found


def estimate(
    config: Config, sizes: Mapping[str, int], slots: int, rows_per_second: float | None = None
) -> dict[str, Any]:
    """What `qsit search estimate` prints: trials, rows, gpu_hours, wall_hours, also by axis.

    `slots`: trials that run at once. `rows_per_second`: of one trial on one device; by default the
    paper's, whose grid took 720 A800 hours. Every trial is counted at its longest, so these are
    upper bounds: a plateau ends most of them earlier. Axes follow one another; within one the
    longest trials start first.
    """
    if slots < 1:
        raise InputError(f"slots: {slots} trials at once; at least 1 is needed")
    if rows_per_second is not None and not rows_per_second > 0:
        raise InputError(f"rows per second: {rows_per_second}; a number above 0 is needed")
    axes = planned(config, sizes)
    rate = rows_per_second or papers_rate()
    by_axis = {
        axis: {
            "trials": len(trials.rows),
            "rows": sum(trials.rows),
            "gpu_hours": trials.hours(rate) * (config.search.gpus_per_trial or 1.0),
            "wall_hours": trials.wall_hours(rate, slots),
        }
        for axis, trials in axes.items()
    }
    return {
        **{
            key: sum(found[key] for found in by_axis.values())
            for key in ("trials", "rows", "gpu_hours", "wall_hours")
        },
        "by_axis": by_axis,
        "slots": slots,
        "rows_per_second": rate,
        "rate_from": "given" if rows_per_second else "the paper's grid in 720 A800 hours",
        "paper_gpu_hours": PAPER_HOURS,
    }


def papers_rate() -> float:
    """Rows a second and GPU at which the paper's grid, all trials at their longest, takes 720
    hours."""
    from qsit_ray.config import presets

    paper = presets.paper()
    trials = planned(paper, paper.expected_sizes or {})
    return sum(sum(axis.rows) for axis in trials.values()) / (PAPER_HOURS["search"] * 3600)


def _check_ends(config: Config, sizes: Mapping[str, int]) -> None:
    """The second axis can be searched wherever the first one's optimum will lie; known here, not
    when the first has been paid for."""
    first, second = AXES
    ratios = config.space(second).ratios
    for optimum in (min(config.space(first).ratios), max(config.space(first).ratios)):
        try:
            mixtures(second, (min(ratios), max(ratios)), sizes, optimum, config.search.max_repeats)
        except InputError as error:
            raise InputError(f"{error} (if the optimum of {first} is {optimum:g})") from None


def _longest(config: Config, rows: int) -> int:
    return config.search.longest(rows) * config.search.training.batch_size


def _ratio_general(axis: Axis) -> float | None:
    return None if axis == "interpreting_general" else ANY_RATIO


Point = tuple[float, int]


def longest_first(points: Sequence[Point], longest: Callable[[float], float]) -> list[Point]:
    """(ratio, seed) points by the length of their trials, the longest first.

    `longest` tells how long a trial at a ratio takes at most (`Search.longest` of its rows). Points
    of one length keep their order.

    What starts last ends last: slots then wait for each other by the shortest trials, not by the
    longest (Graham 1969).
    """
    return sorted(points, key=lambda point: -longest(point[0]))


def makespan(durations: Iterable[float], slots: int) -> float:
    """When the last trial ends, if each starts in the order given in the first slot that is free.

    Raises ValueError when there is no slot.
    """
    if slots < 1:
        raise ValueError(f"{slots} slots; expected 1 or more")
    free = [0.0] * slots
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def lower_bound(durations: Iterable[float], slots: int) -> float:
    """What no order can beat: every slot busy to the end, or the longest trial by itself."""
    durations = list(durations)
    return max(sum(durations) / slots, max(durations, default=0.0))
