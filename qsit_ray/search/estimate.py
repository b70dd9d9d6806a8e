"""pure: the cost of a search before it starts, and the order of its trials."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from qsit_ray.config.config import Config
from qsit_ray.errors import InputError
from qsit_ray.mixture import AXES
from qsit_ray.search.trials import Point, mixture_at

# A800 GPU-hours of Algorithm 1 as the paper gives them: all proxies, the primary's run, and the
# same search done with the primary.
PAPER_HOURS = {"search": 720.0, "primary": 72.0, "search_with_primary": 2800.0}

ANY_RATIO = 1.0  # rows of a trial on the second axis do not depend on D2:D3, the first's optimum


@dataclass(frozen=True)
class AxisEstimate:
    """The trials of one axis at their longest; rows count once per use."""

    trials: int
    rows: int
    gpu_hours: float
    wall_hours: float


@dataclass(frozen=True)
class Estimate(AxisEstimate):
    """Both axes together, as `qsit search estimate --json` prints them. These are upper bounds: a
    plateau ends most trials earlier."""

    by_axis: dict[str, AxisEstimate]
    slots: int
    rows_per_second: float
    rate_from: str
    paper_gpu_hours: dict[str, float]

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def planned(config: Config, sizes: Mapping[str, int]) -> dict[str, list[int]]:
    """The rows of each trial at its longest, counted once per use, by axis.

    An adaptive search may take its trials anywhere: each is counted at the mean over the grid.
    Raises InputError for a ratio that asks for more rows than `search.max_repeats` allows.
    """
    search = config.search
    found: dict[str, list[int]] = {}
    if config.mix is None:
        _check_second_axis(config, sizes)
    for axis in AXES if config.mix is None else ():
        space = config.space(axis)
        ratio_general = None if axis == "interpreting_general" else ANY_RATIO
        mixtures = [
            mixture_at(axis, ratio, sizes, ratio_general, search.max_repeats)
            for ratio in space.ratios
        ]
        rows = [search.longest(m.total) * search.training.batch_size for m in mixtures]
        if search.adaptive is None:
            found[axis] = [n for n in rows for _ in space.seeds]
        else:
            found[axis] = [round(sum(rows) / len(rows))] * search.adaptive.trials
    return found


def estimate(
    config: Config, sizes: Mapping[str, int], slots: int, rows_per_second: float | None = None
) -> Estimate:
    """Trials, rows, GPU-hours and wall time of both axes, one after the other.

    `slots`: trials that run at once, the longest first. `rows_per_second`: of one trial on one
    device; by default the paper's, whose grid took 720 A800 hours. Raises InputError for values
    that are not positive, and as `planned`.
    """
    if slots < 1:
        raise InputError(f"slots: {slots} trials at once; at least 1 is needed")
    if rows_per_second is not None and not rows_per_second > 0:
        raise InputError(f"rows per second: {rows_per_second}; a number above 0 is needed")
    axes = planned(config, sizes)
    rate = rows_per_second or papers_rate()
    by_axis = {
        axis: AxisEstimate(
            trials=len(rows),
            rows=sum(rows),
            gpu_hours=sum(rows) / rate / 3600 * (config.search.gpus_per_trial or 1.0),
            wall_hours=makespan(sorted(rows, reverse=True), slots) / rate / 3600,
        )
        for axis, rows in axes.items()
    }
    return Estimate(
        trials=sum(found.trials for found in by_axis.values()),
        rows=sum(found.rows for found in by_axis.values()),
        gpu_hours=sum(found.gpu_hours for found in by_axis.values()),
        wall_hours=sum(found.wall_hours for found in by_axis.values()),
        by_axis=by_axis,
        slots=slots,
        rows_per_second=rate,
        rate_from="given" if rows_per_second else "the paper's grid in 720 A800 hours",
        paper_gpu_hours=PAPER_HOURS,
    )


def papers_rate() -> float:
    """Rows per second and GPU at which the paper's grid, at its longest, takes 720 hours."""
    from qsit_ray.config import presets

    paper = presets.paper()
    rows = planned(paper, paper.expected_sizes or {})
    return sum(map(sum, rows.values())) / (PAPER_HOURS["search"] * 3600)


def _check_second_axis(config: Config, sizes: Mapping[str, int]) -> None:
    """The second axis must have mixtures for every optimum of the first: known before the first
    is paid for."""
    first, second = AXES
    ratios, optima = config.space(second).ratios, config.space(first).ratios
    for optimum in (min(optima), max(optima)):
        for ratio in (min(ratios), max(ratios)):
            try:
                mixture_at(second, ratio, sizes, optimum, config.search.max_repeats)
            except InputError as error:
                raise InputError(f"{error} (if the optimum of {first} is {optimum:g})") from None


def longest_first(points: Sequence[Point], longest: Callable[[float], float]) -> list[Point]:
    """Points by the length of their trials, the longest first; equals keep their order.

    `longest` gives the length of a trial at a ratio at the most (`Search.longest` of its rows).
    The last trials to start end last: slots then wait for each other by the shortest trials, not
    by the longest (Graham 1969).
    """
    return sorted(points, key=lambda point: -longest(point[0]))


def makespan(durations: Iterable[float], slots: int) -> float:
    """The time until the last trial ends, if each starts in the order given in the first free slot.

    Raises ValueError when there is no slot.
    """
    if slots < 1:
        raise ValueError(f"{slots} slots; expected 1 or more")
    free = [0.0] * slots
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def lower_bound(durations: Iterable[float], slots: int) -> float:
    """The bound that no order can beat: every slot busy to the end, or the longest trial alone."""
    durations = list(durations)
    return max(sum(durations) / slots, max(durations, default=0.0))
