"""pure: a grid of small plots with shared axes, the same file for the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

COLUMNS = 4


def write_panels(
    path: Path,
    names: Sequence[str],
    draw: Callable[[Any, str], None],
    x_title: str,
    y_title: str,
) -> None:
    """Write an SVG with one panel for each name, which is its title; `draw` gets the axes."""
    import matplotlib
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    # No date and no random names.
    with matplotlib.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none"}):
        figure = Figure(figsize=(3.0 * columns, 2.3 * rows), layout="constrained")
        panels: Any = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for panel, name in zip(panels.flat, names, strict=False):
            draw(panel, name)
            panel.set_title(name, fontsize=8)
            panel.tick_params(labelsize=7)
        for panel in panels.flat[len(names) :]:
            panel.set_visible(False)
        figure.supxlabel(x_title, fontsize=8)
        figure.supylabel(y_title, fontsize=8)
        figure.savefig(path, format="svg", metadata={"Date": None})
