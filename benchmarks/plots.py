"""pure: the plots of what grows with rows, image size, workers and trials, from the results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Curve
from qsit_ray.evaluation.studies.panels import save_svg

# Of Okabe and Ito: told apart by colour-blind readers.
COLOURS, LIMIT = ("#0072B2", "#D55E00", "#009E73"), "#777777"
MARKS = "os^"


def write_plots(path: Path, curves: Sequence[Curve]) -> None:
    """Write an SVG with a plot a curve, two in a row."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not curves:
        return
    rows = -(-len(curves) // 2)
    figure = Figure(figsize=(9.0, 3.4 * rows), layout="constrained")
    panels = figure.subplots(rows, 2, squeeze=False)
    for panel, curve in zip(panels.flat, curves, strict=False):
        looks = iter(zip(COLOURS, MARKS, strict=True))
        for name, points in curve.lines.items():
            if name == curve.limit:
                panel.plot(*zip(*points, strict=True), "--", color=LIMIT, label=name, lw=1.2)
                continue
            colour, mark = next(looks)
            panel.plot(*zip(*points, strict=True), color=colour, marker=mark, ms=4, label=name)
        panel.set(xscale="log", yscale="log", xlabel=curve.x, ylabel=curve.y)
        panel.set_title(curve.title, fontsize=10, loc="left")
        panel.set_xticks(sorted({x for line in curve.lines.values() for x, _ in line}))
        least, most = panel.get_ylim()
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if most < 100 * least else (1,)))
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter(FuncFormatter(_number))
            axis.set_minor_formatter(NullFormatter())
        panel.tick_params(which="minor", length=0)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
        panel.legend(fontsize=8, frameon=False)
    for panel in panels.flat[len(curves) :]:
        panel.set_visible(False)
    save_svg(figure, path)


def _number(value: float, _: object = None) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
