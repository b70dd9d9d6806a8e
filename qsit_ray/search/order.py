"""pure: the order in which trials start, and how long a cluster is busy with them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence

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
