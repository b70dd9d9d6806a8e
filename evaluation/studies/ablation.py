"""pure: the arms of `qsit ablate` as a table of a page, and their loss ratios as a plot.

Writes the section named as the study, and the plot `<study>_measured.svg` in the page's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import typer

from evaluation.studies.sections import Page, table, write_section
from qsit_ray.arms import Study
from qsit_ray.report import ablations
from qsit_ray.report.ablations import ArmResult


def plot(path: Path, results: Sequence[ArmResult]) -> None:
    """L_S/L_I over λ by epoch, one panel per arm and one line per seed."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator, ScalarFormatter

    columns = min(4, len(results))
    rows = -(-len(results) // columns)
    with matplotlib.rc_context({"svg.hashsalt": "ablation", "svg.fonttype": "none"}):
        figure = Figure(figsize=(3.0 * columns, 2.3 * rows), layout="constrained")
        panels: Any = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for panel, result in zip(panels.flat, results, strict=False):
            panel.axhline(1.0, color="0.4", linewidth=0.8)
            for ratios in result.ratios:
                panel.plot(np.arange(1, len(ratios) + 1), ratios, marker="o", markersize=3)
            panel.set_yscale("log")
            panel.set_title(result.arm, fontsize=8)
            panel.tick_params(labelsize=7)
        panels.flat[0].yaxis.set_major_formatter(ScalarFormatter())
        panels.flat[0].yaxis.set_minor_locator(NullLocator())
        panels.flat[0].set_yticks([0.5, 1, 2])
        for panel in panels.flat[len(results) :]:
            panel.set_visible(False)
        figure.supxlabel("epochs trained", fontsize=8)
        figure.supylabel("L_S/L_I over λ", fontsize=8)
        figure.savefig(path, format="svg", metadata={"Date": None})


def write(
    run: Annotated[Path, typer.Argument(help="The run folder of `qsit ablate`.")],
    out: Page,
    command: Annotated[str, typer.Option(help="The command that made it, for the page.")],
) -> None:
    """The arms that `qsit ablate` trained, as tables of a page."""
    for study in get_args(Study):
        path = run / "ablations" / study / ablations.RESULTS
        if not path.exists():
            continue
        results = ablations.read(path)
        text = table(ablations.COLUMNS, map(ablations.cells, results))
        write_section(out, study, f"`{command} --study {study}`", text)
        plot(out.with_name(f"{study}_measured.svg"), results)
