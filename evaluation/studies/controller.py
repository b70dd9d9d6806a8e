"""pure: the controller in a loop with a toy model of two tasks, over step rules and gains.

A task's loss is `floor + scale · n^-exponent`, where n is what the model still holds of its rows:
the rows of this epoch and `memory` times what it held before. The blend also teaches scoring a
little.
Returns diminish, epochs add up, and losses are noisy: `observe` sees them as a validation set would
give them.

`python -m evaluation.studies.controller --out docs/CONTROLLER.md` writes the page's section
`simulation` and the plot beside it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from evaluation.studies.sections import write_section
from qsit_ray.config.train import Controller
from qsit_ray.controller import MixtureController
from qsit_ray.errors import InputError
from qsit_ray.mixture import Mixture

FIRST = Mixture(14_349, 35_873, 14_923)
LAMBDA = 1 / 4.66
EPOCHS = 24
LAST = 8  # epochs over which it is judged whether the ratio has settled
RUNS = 200
# How far L_S/L_I stands from λ at first, as a multiple: the primary is not the proxy.
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
    """Two tasks. `start`: L_S/L_I after an epoch of the first mixture, as a multiple of λ."""

    start: float
    exponent: float = 0.4
    memory: float = 0.5
    transfer: float = 0.05
    floor: float = 0.2  # share of each loss after the first epoch that no row takes away
    noise: float = 0.01

    def losses(self, held: NDArray[np.float64]) -> NDArray[np.float64]:
        """(L_S, L_I) without noise; `held`: rows of scoring and of the blend, shape [2]."""
        first = np.array([FIRST.scoring, FIRST.interpreting + FIRST.general], float)

        def taught(rows: NDArray[np.float64]) -> NDArray[np.float64]:
            return rows + np.array([self.transfer * rows[1], 0.0])

        fallen = (taught(held) / taught(first)) ** -self.exponent
        return np.array([LAMBDA * self.start, 1.0]) * (self.floor + (1 - self.floor) * fallen)


@dataclass(frozen=True)
class Course:
    """One run: log(L_S/L_I ÷ λ) by epoch without its noise, rows by epoch, verdicts."""

    deviation: NDArray[np.float64]
    rows: NDArray[np.float64]
    verdicts: list[str]

    @property
    def flips(self) -> int:
        """How often a side was grown after the other had been."""
        grown = [v for v in self.verdicts if v != "hold"]
        return sum(a != b for a, b in pairwise(grown))


def course(toy: Toy, rule: Controller, epochs: int, seed: int) -> Course:
    """The controller's decisions over `epochs` epochs of one toy run."""
    chance = np.random.default_rng(seed)
    controller = MixtureController(FIRST, LAMBDA, rule)
    held = np.zeros(2)
    deviations, totals = [], []
    for epoch in range(epochs):
        sizes = controller.mixture(epoch)
        held = toy.memory * held + [sizes.scoring, sizes.interpreting + sizes.general]
        losses = toy.losses(held)
        seen = losses * np.exp(toy.noise * chance.standard_normal(2))
        controller.observe(epoch, float(seen[0]), float(seen[1]))
        deviations.append(np.log(losses[0] / losses[1] / LAMBDA))
        totals.append(sizes.total)
    return Course(
        np.array(deviations), np.array(totals, float), [d.verdict for d in controller.decisions]
    )


@dataclass(frozen=True)
class Outcome:
    """Runs of one rule from all STARTS. `deviation`: relative, shape [runs, epochs]."""

    name: str
    deviation: NDArray[np.float64]
    flips: NDArray[np.float64]
    growth: NDArray[np.float64]

    @property
    def remaining(self) -> NDArray[np.float64]:
        """Mean distance from λ in the last epochs, relative, one a run."""
        return np.abs(self.deviation[:, -LAST:]).mean(axis=1)

    @property
    def swing(self) -> NDArray[np.float64]:
        """Highest less lowest ratio in the last epochs, relative to λ, one a run."""
        return np.ptp(self.deviation[:, -LAST:], axis=1)

    def within(self, epochs: int, tolerance: float = 0.05) -> float:
        """Share of runs whose ratio, noise aside, is in the band after so many epochs."""
        return float(np.mean(np.abs(self.deviation[:, epochs - 1]) <= tolerance))


def simulated(name: str, runs: int = RUNS, seed: int = 0, epochs: int = EPOCHS) -> Outcome:
    """`runs` runs of RULES[`name`], as many from each start."""
    courses = [
        course(Toy(STARTS[run % len(STARTS)]), RULES[name], epochs, seed * 100_000 + run)
        for run in range(runs)
    ]
    return Outcome(
        name,
        np.expm1(np.array([c.deviation for c in courses])),
        np.array([c.flips for c in courses], float),
        np.array([c.rows[-1] / c.rows[0] for c in courses]),
    )


def section(found: list[Outcome], command: str) -> str:
    """The page's section: one row a rule."""
    starts = ", ".join(f"{start:g}" for start in STARTS)
    lines = [
        f"{len(found[0].flips)} runs a rule, of {EPOCHS} epochs, from ratios of {starts} times λ. "
        "*In the band*: share of runs whose L_S/L_I is within 5 % of λ after so many epochs. "
        f"*Remaining* and *swing*: over the last {LAST} epochs, the mean distance from λ and the "
        "highest less the lowest ratio, both relative to λ, median and 95 % quantile of the runs. "
        "*Turns*: how often one side was grown after the other, mean. *Rows*: of the last epoch "
        "over the first's, mean.",
        "",
        f"`{command}`",
        "",
        "| rule | in the band after 3 | after 6 | after 12 | remaining | swing | turns | rows |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        bands = " | ".join(f"{100 * row.within(n):.0f} %" for n in (3, 6, 12))
        lines.append(
            f"| {row.name} | {bands} | {_percent(row.remaining)} | {_percent(row.swing)} "
            f"| {row.flips.mean():.2f} | {row.growth.mean():.2f} |"
        )
    return "\n".join(lines)


def _percent(values: NDArray[np.float64]) -> str:
    middle, high = 100 * np.quantile(values, [0.5, 0.95])
    return f"{middle:.1f} %, {high:.1f} %"


def plot(path: Path, found: list[Outcome]) -> None:
    """The ratio over epochs, one panel a rule: one line a start, the band around λ shaded."""
    import matplotlib
    from matplotlib.figure import Figure

    columns = 4
    rows = -(-len(found) // columns)
    # The same picture for the same numbers: no date, no random names.
    with matplotlib.rc_context({"svg.hashsalt": "controller", "svg.fonttype": "none"}):
        figure = Figure(figsize=(3.0 * columns, 2.3 * rows), layout="constrained")
        panels: Any = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for panel, outcome in zip(panels.flat, found, strict=False):
            panel.axhspan(0.95, 1.05, color="0.9")
            panel.axhline(1.0, color="0.4", linewidth=0.8)
            for start in range(len(STARTS)):
                some = 1 + outcome.deviation[start :: len(STARTS)]
                epochs = np.arange(some.shape[1])
                low, middle, high = np.quantile(some, [0.05, 0.5, 0.95], axis=0)
                (line,) = panel.plot(epochs, middle, linewidth=1.2)
                panel.fill_between(epochs, low, high, color=line.get_color(), alpha=0.2)
            panel.set_title(outcome.name, fontsize=8)
            panel.tick_params(labelsize=7)
        for panel in panels.flat[len(found) :]:
            panel.set_visible(False)
        figure.supxlabel("epoch", fontsize=8)
        figure.supylabel("L_S/L_I over λ", fontsize=8)
        figure.savefig(path, format="svg", metadata={"Date": None})


def main(
    out: Annotated[Path, typer.Option(help="The page whose section `simulation` is written.")],
    runs: Annotated[int, typer.Option(min=len(STARTS))] = RUNS,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Write how the controller settles, and its plot beside the page."""
    found = [simulated(name, runs, seed) for name in RULES]
    command = (
        "python -m evaluation.studies.controller --out docs/CONTROLLER.md "
        f"--runs {runs} --seed {seed}"
    )
    try:
        write_section(out, "simulation", section(found, command))
    except InputError as error:
        print(f"qsit: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    plot(out.with_name("controller.svg"), found)
    print(f"{out}: {len(found)} rules")


if __name__ == "__main__":
    typer.run(main)
