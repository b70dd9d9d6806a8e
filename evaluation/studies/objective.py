"""pure: how far the objectives of finished searches tell ratios apart, and whether they agree.

Every trial has its accuracy and its mean probability of the right answer, whichever of them the
search maximised. Writes the section `objective` of a page.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from qsit_ray.artifacts import RunFolder
from qsit_ray.errors import InputError
from qsit_ray.evaluation import correlation
from qsit_ray.evaluation.intervals import Floats
from qsit_ray.evaluation.studies.sections import Page, table, write_section
from qsit_ray.mixture import AXES
from qsit_ray.search.trials import TrialOutcome, read_trials
from qsit_ray.surrogate.curve import process
from qsit_ray.surrogate.observations import observed

OBJECTIVES = ("accuracy", "probability")


@dataclass(frozen=True)
class Told:
    """How an objective tells the ratios of one search apart.

    `noise`: standard deviation between the seeds of a ratio, pooled over the ratios. `spread`: that
    of the ratios' means beyond the noise which they have. `agreement`: rank correlation of the
    ratios' means with those of the accuracy.
    """

    noise: float
    spread: float
    agreement: float

    @property
    def cells(self) -> list[str]:
        """Noise, spread, spread over noise, and agreement, to three decimals."""
        over = self.spread / self.noise if self.noise else np.inf
        return [f"{value:.3f}" for value in (self.noise, self.spread, over, self.agreement)]


def told(values: Floats, accuracy: Floats) -> Told:
    """`values` and `accuracy` have shape (ratios, seeds), of at least 2 seeds."""
    noise = float(np.sqrt(values.var(axis=1, ddof=1).mean()))
    means = values.mean(axis=1)
    beyond = means.var(ddof=1) - noise**2 / values.shape[1]
    agreement = correlation.srcc(accuracy.mean(axis=1), means)
    return Told(noise, float(np.sqrt(max(beyond, 0.0))), agreement)


def peak(trials: list[TrialOutcome], name: str) -> tuple[str, str]:
    """The recommended curve's best ratio with its 95 % interval, and whether the response is told
    from flat at 95 %."""
    done = [(row.ratio, value) for row in trials if (value := row.value(name)) is not None]
    fitted = process(observed(*map(list, zip(*done, strict=True))))
    low, high = fitted.interval or (fitted.low, fitted.high)
    return f"{fitted.optimum:.3g} [{low:.3g}, {high:.3g}]", "no" if fitted.flat else "yes"


def by_ratio(rows: list[TrialOutcome], name: str) -> Floats:
    """The values of an objective, (ratios, seeds). Raises InputError where a trial lacks one."""
    values = {row.point: row.value(name) for row in rows}
    ratios, seeds = sorted({r for r, _ in values}), sorted({s for _, s in values})
    lost = [(r, s) for r in ratios for s in seeds if values.get((r, s)) is None]
    if lost or len(seeds) < 2:
        raise InputError(f"{name}: at least two seeds are needed, and a value of every trial")
    return np.array([[values[r, s] for s in seeds] for r in ratios])


def write(
    runs: Annotated[list[Path], typer.Argument(help="Run folders with finished searches.")],
    out: Page,
    command: Annotated[str, typer.Option(help="The command that made them, for the page.")],
) -> None:
    """Noise of the objectives of finished searches."""
    rows = []
    for run in runs:
        for axis in (axis for axis in AXES if RunFolder(run).trials(axis).exists()):
            trials = read_trials(RunFolder(run).trials(axis))
            accuracy = by_ratio(trials, "accuracy")
            for name in OBJECTIVES:
                found = told(by_ratio(trials, name), accuracy)
                rows.append([run.name, axis, name, *found.cells, *peak(trials, name)])
    columns = (
        *("run", "axis", "objective", "noise", "spread", "spread / noise", "agreement"),
        *("best ratio", "told from flat"),
    )
    write_section(out, "objective", f"`{command}`", table(columns, rows))
