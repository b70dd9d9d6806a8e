"""pure: the paper's grid on a simulated clock, in Tune's order and the longest trial first.

Writes the section `order` of docs/SEARCH.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qsit_ray.config.config import Config
from qsit_ray.config.presets import paper
from qsit_ray.evaluation.studies.sections import (
    Count,
    Page,
    Seed,
    command_line,
    table,
    write_section,
)
from qsit_ray.mixture import AXES, mixture_on_axis
from qsit_ray.search.estimate import longest_first, lower_bound, makespan
from qsit_ray.search.trials import Point

SLOTS = 8
SEARCHES = 1000
OPTIMA = {"interpreting_general": 2.42}  # the paper's, which the second axis's rows need
GOAL = 1.05
ORDERS = ("grid order", "longest first", "oracle")

# A plateau ends a trial at a share of its longest between this and 1.
SHORTEST = {"a plateau, at 40 to 100 % of the longest": 0.4, "the longest it may take": 1.0}


@dataclass(frozen=True)
class Makespans:
    """Makespans over the lower bound of the same trials, {order: one per simulated search}.

    `grid order`: Tune's own. `longest first`: by the rows, as the search does. `oracle`: the
    longest first by the drawn durations, which are not known in advance.
    """

    axis: str
    ending: str
    spread: float
    over_bound: dict[str, NDArray[np.float64]]


def simulated(
    config: Config,
    axis: str,
    ending: str,
    searches: int = SEARCHES,
    seed: int = 0,
    slots: int = SLOTS,
) -> Makespans:
    """`searches` runs of one axis, `slots` trials at a time; a trial takes at least the share
    SHORTEST[`ending`] of its longest duration."""
    space, sizes = config.space(axis), config.expected_sizes
    assert sizes is not None
    steps = {
        ratio: config.search.longest(mixture_on_axis(config.axis(axis), ratio, sizes, OPTIMA).total)
        for ratio in space.ratios
    }
    points = [(ratio, s) for ratio in space.ratios for s in space.seeds]
    by_rows = longest_first(points, steps.__getitem__)
    found: dict[str, list[float]] = {order: [] for order in ORDERS}
    for search in range(searches):
        chance = np.random.default_rng([seed, search])
        shares = chance.uniform(SHORTEST[ending], 1.0, len(points))
        took: dict[Point, float] = {
            point: steps[point[0]] * share for point, share in zip(points, shares, strict=True)
        }
        by_duration = sorted(points, key=took.__getitem__, reverse=True)
        bound = lower_bound(took.values(), slots)
        for order, ordered in zip(ORDERS, (points, by_rows, by_duration), strict=True):
            found[order].append(makespan((took[point] for point in ordered), slots) / bound)
    spread = max(steps.values()) / min(steps.values())
    over_bound = {order: np.array(ratios) for order, ratios in found.items()}
    return Makespans(axis, ending, spread, over_bound)


def orders_table(found: list[Makespans]) -> str:
    """One row per axis and ending."""
    columns = ["axis", "longest : shortest", "trials end at", *ORDERS, "within 5 %"]
    return table(columns, map(_cells, found))


def _cells(row: Makespans) -> list[str]:
    spreads = [np.quantile(row.over_bound[order], [0.05, 0.5, 0.95]) for order in ORDERS]
    return [
        *(row.axis, f"{row.spread:.1f}", row.ending),
        *(f"{middle:.3f} [{low:.3f}, {high:.3f}]" for low, middle, high in spreads),
        f"{100 * np.mean(row.over_bound['longest first'] <= GOAL):.0f} %",
    ]


def write(out: Page, searches: Count = SEARCHES, seed: Seed = 0) -> None:
    """The time for the paper's grid by the order of its trials."""
    config = paper()
    found = [simulated(config, axis, e, searches, seed) for axis in AXES for e in SHORTEST]
    command = command_line("order", searches=searches, seed=seed)
    write_section(out, "order", command, orders_table(found))
