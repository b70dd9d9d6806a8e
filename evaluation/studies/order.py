"""pure: the paper's grid on a simulated clock, in Tune's order and the longest trial first.

`python -m evaluation.studies.order --out docs/SEARCH.md` writes the page's section `order`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from evaluation.studies.sections import write_section
from qsit_ray.config.config import Config
from qsit_ray.config.presets import paper
from qsit_ray.errors import InputError
from qsit_ray.mixture import AXES, Axis, mixture_on_axis
from qsit_ray.search.estimate import Point, longest_first, lower_bound, makespan

SLOTS = 8
SEARCHES = 1000
RATIO_GENERAL = 2.42  # the paper's optimum of the first axis, which the second one's rows need
GOAL = 1.05

# A plateau ends a trial at a share of its longest between this and 1.
SHORTEST = {"a plateau, at 40 to 100 % of the longest": 0.4, "the longest it may take": 1.0}


@dataclass(frozen=True)
class Busy:
    """Makespans over the lower bound of the same trials, one a simulated search, shape
    (searches,) each: in the order of the grid, the longest first by the plan, and the longest first
    by what trials will really take, which nobody knows."""

    axis: Axis
    ending: str
    trials: int
    spread: float
    grid: NDArray[np.float64]
    longest_first: NDArray[np.float64]
    foreseen: NDArray[np.float64]


def simulated(
    config: Config, axis: Axis, ending: str, searches: int = SEARCHES, seed: int = 0
) -> Busy:
    """`searches` runs of one axis of `config`, whose trials end as SHORTEST[`ending`] says."""
    space, sizes = config.space(axis), config.expected_sizes
    assert sizes is not None
    steps = {
        ratio: config.search.longest(mixture_on_axis(axis, ratio, sizes, RATIO_GENERAL).total)
        for ratio in space.ratios
    }
    points = [(ratio, s) for ratio in space.ratios for s in space.seeds]
    ordered = longest_first(points, steps.__getitem__)
    found: list[list[float]] = []
    for search in range(searches):
        chance = np.random.default_rng([seed, search])
        shares = chance.uniform(SHORTEST[ending], 1.0, len(points))
        took: dict[Point, float] = {
            point: steps[point[0]] * share for point, share in zip(points, shares, strict=True)
        }
        bound = lower_bound(took.values(), SLOTS)
        found.append(
            [
                makespan((took[point] for point in points), SLOTS) / bound,
                makespan((took[point] for point in ordered), SLOTS) / bound,
                makespan(sorted(took.values(), reverse=True), SLOTS) / bound,
            ]
        )
    spread = max(steps.values()) / min(steps.values())
    return Busy(axis, ending, len(points), spread, *np.array(found).T)


def section(found: list[Busy], command: str) -> str:
    """The page's section: one row an axis and a way to end."""
    lines = [
        f"The paper's grid, {found[0].trials} trials an axis, on {SLOTS} slots. The longest that "
        "a trial may take is known from its rows; what it really takes is drawn. The figures are "
        "the time until the last trial ends, over the bound that no order can beat (all slots busy "
        f"to the end, or the longest trial): the median of {len(found[0].grid)} simulated "
        "searches, with their 5 and 95 % quantiles. *Grid order* is Tune's own; *foreseen* is the "
        "longest first by what trials will really take.",
        "",
        f"`{command}`",
        "",
        "| axis | longest : shortest | trials end at | grid order | longest first | foreseen | "
        "within 5 % |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found:
        orders = " | ".join(map(_over, (row.grid, row.longest_first, row.foreseen)))
        within = 100 * np.mean(row.longest_first <= GOAL)
        lines.append(
            f"| {row.axis} | {row.spread:.1f} | {row.ending} | {orders} | {within:.0f} % |"
        )
    return "\n".join(lines)


def _over(ratios: NDArray[np.float64]) -> str:
    low, middle, high = np.quantile(ratios, [0.05, 0.5, 0.95])
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


def main(
    out: Annotated[Path, typer.Option(help="The page whose section `order` is written.")],
    searches: Annotated[int, typer.Option(min=1)] = SEARCHES,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Write how long slots are busy with the paper's grid, by the order of its trials."""
    config = paper()
    found = [simulated(config, axis, e, searches, seed) for axis in AXES for e in SHORTEST]
    command = (
        "python -m evaluation.studies.order --out docs/SEARCH.md "
        f"--searches {searches} --seed {seed}"
    )
    try:
        write_section(out, "order", section(found, command))
    except InputError as error:
        print(f"qsit: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    print(f"{out}: {len(found)} rows")


if __name__ == "__main__":
    typer.run(main)
