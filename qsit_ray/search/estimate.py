"""pure: the cost of a search before it starts, and the order of its trials."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Protocol

from qsit_ray.config.config import Config
from qsit_ray.config.search import Search
from qsit_ray.errors import InputError
from qsit_ray.mixture import Axis, Mixture
from qsit_ray.search.trials import Point, mixture_at

# A800 GPU-hours of Algorithm 1 as the paper gives them: all proxies, the primary's run, and the
# same search done with the primary.
PAPER_HOURS = {"search": 720.0, "primary": 72.0, "search_with_primary": 2800.0}

ANY_RATIO = 1.0  # rows of a trial on a later axis do not depend on the optima before


@dataclass(frozen=True)
class AxisEstimate:
    """The trials of one axis; rows count once per use.

    `rows`, `gpu_hours` and `wall_hours`: where every trial is as long as it may be.
    `least_gpu_hours`: where every trial ends at a plateau, as early as its patience lets it.
    """

    trials: int
    rows: int
    gpu_hours: float
    least_gpu_hours: float
    wall_hours: float


@dataclass(frozen=True)
class Estimate(AxisEstimate):
    """Both axes together, as `qsit search estimate --json` prints them. `cost` and `least_cost`:
    of the GPU-hours at the price given."""

    by_axis: dict[str, AxisEstimate]
    slots: int
    rows_per_second: float
    rate_from: str
    cost: float | None
    least_cost: float | None
    paper_gpu_hours: dict[str, float]

    def to_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Planned:
    """A trial that is to come: its mixture, and the rows that it trains at most and at least."""

    mixture: Mixture
    most: int
    least: int


def planned(config: Config, sizes: Mapping[str, int]) -> dict[str, list[Planned]]:
    """The trials of each axis. An adaptive search may take its trials anywhere: they are spread
    evenly over the grid.

    Raises InputError for a ratio that asks for more rows than `search.max_repeats` allows.
    """
    search = config.search
    found: dict[str, list[Planned]] = {}
    _check_later_axes(config, sizes)
    for each in config.searches:
        axis, space = each.name, config.space(each.name)
        mixtures = [
            mixture_at(each, ratio, sizes, _any(config.axes), search.max_repeats)
            for ratio in space.ratios
        ]
        trials = [_planned(search, mixture) for mixture in mixtures]
        if search.adaptive is None:
            found[axis] = [trial for trial in trials for _ in space.seeds]
        else:
            found[axis] = _spread(trials, search.adaptive.trials)
        if search.scouts is not None:
            short = [_planned(search.scouting, mixture) for mixture in mixtures]
            found[axis] += _spread(short, search.scouts.ratios)
    return found


def _planned(search: Search, mixture: Mixture) -> Planned:
    longest, batch = search.longest(mixture.total), search.training.batch_size
    looks = longest if search.patience is None else search.patience + 1
    shortest = min(longest, looks * search.evaluate_every)
    return Planned(mixture, longest * batch, shortest * batch)


def _spread(trials: Sequence[Planned], count: int) -> list[Planned]:
    """As many trials, evenly over these."""
    return [trials[i * len(trials) // count] for i in range(count)]


class Rate(Protocol):
    """How long a trial takes: mean seconds of one device a row of a mixture, and the source."""

    @property
    def source(self) -> str: ...

    def of(self, mixture: Mixture) -> float: ...


def estimate(
    config: Config, sizes: Mapping[str, int], slots: int, rate: Rate, price: float | None = None
) -> Estimate:
    """Trials, rows, GPU-hours and wall time of both axes, one after the other.

    `slots`: trials that run at once, the longest first; those of an adaptive search wait for each
    other in rounds. `price`: of a GPU-hour. Raises InputError for values that are not positive, and
    as `planned`.
    """
    if slots < 1:
        raise InputError(f"slots: {slots} trials at once; at least 1 is needed")
    if price is not None and not 0 <= price < math.inf:
        raise InputError(f"price: {price}; a number of 0 or more is needed")
    by_axis = {
        axis: _axis(config, trials, slots, rate) for axis, trials in planned(config, sizes).items()
    }
    hours = sum(found.gpu_hours for found in by_axis.values())
    least = sum(found.least_gpu_hours for found in by_axis.values())
    rows = sum(found.rows for found in by_axis.values())
    devices = config.search.gpus_per_trial or 1.0
    return Estimate(
        trials=sum(found.trials for found in by_axis.values()),
        rows=rows,
        gpu_hours=hours,
        least_gpu_hours=least,
        wall_hours=sum(found.wall_hours for found in by_axis.values()),
        by_axis=by_axis,
        slots=slots,
        rows_per_second=rows * devices / (3600 * hours) if hours else 0.0,
        rate_from=rate.source,
        cost=None if price is None else price * hours,
        least_cost=None if price is None else price * least,
        paper_gpu_hours=PAPER_HOURS,
    )


def _axis(config: Config, trials: Sequence[Planned], slots: int, rate: Rate) -> AxisEstimate:
    devices = config.search.gpus_per_trial or 1.0
    hours = [rate.of(trial.mixture) / 3600 for trial in trials]
    most = [each * trial.most for each, trial in zip(hours, trials, strict=True)]
    least = [each * trial.least for each, trial in zip(hours, trials, strict=True)]
    adaptive = config.search.adaptive
    rounds = [most] if adaptive is None else _rounds(most, adaptive.batch)
    return AxisEstimate(
        trials=len(trials),
        rows=sum(trial.most for trial in trials),
        gpu_hours=sum(most) * devices,
        least_gpu_hours=sum(least) * devices,
        wall_hours=sum(makespan(sorted(of, reverse=True), slots) for of in rounds),
    )


def _rounds(durations: Sequence[float], batch: int) -> list[list[float]]:
    """Durations of trials that may fall into any round, spread over the rounds alike."""
    count = -(-len(durations) // batch)
    return [list(durations[number::count]) for number in range(count)]


def _any(axes: Iterable[Axis]) -> dict[str, float]:
    return {axis.name: ANY_RATIO for axis in axes}


def _check_later_axes(config: Config, sizes: Mapping[str, int]) -> None:
    """Each later axis must have mixtures for every optimum of those before: known before the first
    is paid for."""
    for number, axis in enumerate(config.searches):
        ratios, before = config.space(axis.name).ratios, config.axes[:number]
        ends = [(min(of), max(of)) for of in (config.space(each.name).ratios for each in before)]
        for optima in product(*ends) if before else ():
            at = {each.name: optimum for each, optimum in zip(before, optima, strict=True)}
            for ratio in (min(ratios), max(ratios)):
                try:
                    mixture_at(axis, ratio, sizes, at, config.search.max_repeats)
                except InputError as error:
                    found = " and ".join(f"of {name} is {value:g}" for name, value in at.items())
                    raise InputError(f"{error} (if the optimum {found})") from None


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
