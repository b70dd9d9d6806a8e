"""pure: the controller in a loop with a toy model of two tasks, over step rules and gains.

A task's loss is `floor + scale · n^-exponent`, where n is the rows that the model still remembers:
those of this epoch and `memory` times the n before. The blend also teaches scoring a little. So
returns diminish and epochs add up; `observe` gets the losses with noise, as from a validation set.

Writes the section `simulation` of docs/CONTROLLER.md and the plot in the same folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from qsit_ray.config.train import Controller
from qsit_ray.controller import MixtureController, Reference
from qsit_ray.evaluation.studies.panels import write_panels
from qsit_ray.evaluation.studies.sections import Page, Seed, command_line, table, write_section
from qsit_ray.mixture import Mixture

Floats = NDArray[np.float64]

FIRST = Mixture.of(14_349, 35_873, 14_923)
TASKS = ("scoring", "interpreting")
LAMBDA = 1 / 4.66
EPOCHS = 24
LAST = 8  # epochs over which the settled ratio is measured
RUNS = 200
# The first L_S/L_I as a multiple of λ: the primary is not the proxy.
STARTS = (0.8, 0.9, 1.1, 1.25)

RULES: dict[str, Controller] = {
    "no controller": Controller(tolerance=0.99),
    "fixed, step 0.1": Controller(step=0.1),
    "fixed, step 0.2 (default)": Controller(),
    "fixed, step 0.5": Controller(step=0.5),
    "proportional, gain 0.5": Controller(step_rule="proportional", gain=0.5),
    "proportional, gain 1": Controller(step_rule="proportional", gain=1.0),
    "proportional, gain 2": Controller(step_rule="proportional", gain=2.0),
    "proportional, gain 4": Controller(step_rule="proportional", gain=4.0),
    "fixed, step 0.2, cap 4": Controller(max_growth=4.0),
    "proportional, gain 2, cap 4": Controller(step_rule="proportional", gain=2.0, max_growth=4.0),
    "fixed, step 0.2, shrink to half": Controller(shrink=True, min_growth=0.5),
    "proportional, gain 2, shrink to half": Controller(
        step_rule="proportional", gain=2.0, shrink=True, min_growth=0.5
    ),
    "proportional, gain 12, max_step 3, band 1 %, cap 4": Controller(
        step_rule="proportional", gain=12.0, max_step=3.0, max_growth=4.0, tolerance=0.01
    ),
}


@dataclass(frozen=True)
class Toy:
    """Two tasks. `start`: L_S/L_I after one epoch of the first mixture, as a multiple of λ."""

    start: float
    exponent: float = 0.4
    memory: float = 0.5
    transfer: float = 0.05
    floor: float = 0.2  # share of each loss after the first epoch that no row takes away
    noise: float = 0.01

    def losses(self, held: Floats) -> Floats:
        """(L_S, L_I) without noise; `held`: remembered rows of scoring and of the blend, (2,)."""
        taught = np.array([held, [*sides(FIRST)]])
        taught[:, 0] += self.transfer * taught[:, 1]
        fallen = (taught[0] / taught[1]) ** -self.exponent
        share = self.floor + (1 - self.floor) * fallen
        return np.asarray(np.array([LAMBDA * self.start, 1.0]) * share)


@dataclass(frozen=True)
class ToyRun:
    """One run. By epoch: L_S/L_I over λ without its noise, less 1, and the verdicts. `growth`: the
    rows of the last epoch over those of the first."""

    deviation: Floats
    verdicts: list[str]
    growth: float

    @property
    def turns(self) -> int:
        """The number of times that one side grew after the other."""
        grown = [v for v in self.verdicts if v != "hold"]
        return sum(a != b for a, b in pairwise(grown))

    @property
    def remaining(self) -> float:
        """Mean distance from λ in the last epochs, relative."""
        return float(np.abs(self.deviation[-LAST:]).mean())

    @property
    def swing(self) -> float:
        """Highest less lowest ratio in the last epochs, relative to λ."""
        return float(np.ptp(self.deviation[-LAST:]))


def sides(sizes: Mixture) -> tuple[int, int]:
    """Rows of scoring, and of the blend."""
    return sizes["scoring"], sizes.total - sizes["scoring"]


def toy_run(toy: Toy, rule: Controller, epochs: int, seed: int) -> ToyRun:
    """The controller's decisions over `epochs` epochs."""
    chance = np.random.default_rng(seed)
    controller = MixtureController(FIRST, [Reference(0.0, LAMBDA)], rule)
    held = np.zeros(2)
    deviations = []
    for epoch in range(epochs):
        sizes = controller.mixture(epoch)
        held = toy.memory * held + [*sides(sizes)]
        losses = toy.losses(held)
        seen = losses * np.exp(toy.noise * chance.standard_normal(2))
        controller.observe(epoch, dict(zip(TASKS, seen.tolist(), strict=True)))
        deviations.append(losses[0] / losses[1] / LAMBDA - 1)
    verdicts: list[str] = [decision.verdict for decision in controller.decisions]
    return ToyRun(np.array(deviations), verdicts, sizes.total / FIRST.total)


def simulated(name: str, runs: int = RUNS, seed: int = 0) -> list[ToyRun]:
    """`runs` runs of RULES[`name`]; the starts take turns."""
    toys = [Toy(STARTS[run % len(STARTS)]) for run in range(runs)]
    return [toy_run(toy, RULES[name], EPOCHS, seed * 100_000 + run) for run, toy in enumerate(toys)]


def within(runs: list[ToyRun], epochs: int) -> float:
    """Share of runs whose ratio, without noise, is within 5 % of λ after so many epochs."""
    return float(np.mean([abs(run.deviation[epochs - 1]) <= 0.05 for run in runs]))


def rules_table(found: dict[str, list[ToyRun]]) -> str:
    """One row per rule."""
    columns = [
        *("rule", "in the band after 3", "after 6", "after 12"),
        *("remaining", "swing", "turns", "rows"),
    ]
    rows = [
        [
            *(name, *(f"{100 * within(runs, epochs):.0f} %" for epochs in (3, 6, 12))),
            *(_percent([run.remaining for run in runs]), _percent([run.swing for run in runs])),
            f"{np.mean([run.turns for run in runs]):.2f}",
            f"{np.mean([run.growth for run in runs]):.2f}",
        ]
        for name, runs in found.items()
    ]
    return table(columns, rows)


def _percent(values: list[float]) -> str:
    middle, high = 100 * np.quantile(values, [0.5, 0.95])
    return f"{middle:.1f} %, {high:.1f} %"


def plot(path: Path, found: dict[str, list[ToyRun]]) -> None:
    """The ratio by epoch, one panel per rule: one line per start, the band around λ shaded."""

    def draw(panel: Any, name: str) -> None:
        panel.axhspan(0.95, 1.05, color="0.9")
        panel.axhline(1.0, color="0.4", linewidth=0.8)
        for start in range(len(STARTS)):
            ratios = [1 + run.deviation for run in found[name][start :: len(STARTS)]]
            low, middle, high = np.quantile(ratios, [0.05, 0.5, 0.95], axis=0)
            (line,) = panel.plot(middle, linewidth=1.2)
            panel.fill_between(range(EPOCHS), low, high, color=line.get_color(), alpha=0.2)

    write_panels(path, list(found), draw, "epoch", "L_S/L_I over λ")


def write(
    out: Page,
    runs: Annotated[int, typer.Option(min=len(STARTS))] = RUNS,
    seed: Seed = 0,
) -> None:
    """The settling of the controller's ratio, with a plot."""
    found = {name: simulated(name, runs, seed) for name in RULES}
    command = command_line("controller", "docs/CONTROLLER.md", runs=runs, seed=seed)
    write_section(out, "simulation", command, rules_table(found))
    plot(out.with_name("controller.svg"), found)
