"""pure: the arms of `qsit ablate` as a table of a page, and their loss ratios as a plot.

Writes the section named as the study, and the plot `<study>_measured.svg` in the page's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import typer

from qsit_ray.arms import Study
from qsit_ray.errors import InputError
from qsit_ray.evaluation.studies.panels import write_panels
from qsit_ray.evaluation.studies.sections import Page, table, write_section
from qsit_ray.report import ablations
from qsit_ray.report.ablations import ArmResult


def plot(path: Path, results: Sequence[ArmResult]) -> None:
    """L_S/L_I over λ by epoch, one panel per arm and one line per seed."""
    from matplotlib.ticker import NullLocator, ScalarFormatter

    ratios = {result.arm: result.ratios for result in results}

    def draw(panel: Any, name: str) -> None:
        panel.axhline(1.0, color="0.4", linewidth=0.8)
        for of_seed in ratios[name]:
            panel.plot(np.arange(1, len(of_seed) + 1), of_seed, marker="o", markersize=3)
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(ScalarFormatter())
        panel.yaxis.set_minor_locator(NullLocator())
        panel.set_yticks([0.5, 1, 2])

    write_panels(path, list(ratios), draw, "epochs trained", "L_S/L_I over λ")


def write(
    run: Annotated[Path, typer.Argument(help="The run folder of `qsit ablate`.")],
    out: Page,
    command: Annotated[str, typer.Option(help="The command that made it, for the page.")],
) -> None:
    """The arms that `qsit ablate` trained, as tables of a page.

    Raises InputError where the run has none.
    """
    paths = {study: run / "ablations" / study / ablations.RESULTS for study in get_args(Study)}
    there = {study: path for study, path in paths.items() if path.exists()}
    if not there:
        raise InputError(f"{run}: no results of `qsit ablate`")
    for study, path in there.items():
        results = ablations.read(path)
        text = table(ablations.COLUMNS, map(ablations.cells, results))
        write_section(out, study, f"`{command} --study {study}`", text)
        plot(out.with_name(f"{study}_measured.svg"), results)
