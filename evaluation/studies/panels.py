"""pure: plots as files, the same file for the same numbers, and a grid of small ones with shared
axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

COLUMNS = 4


def save_svg(figure: Any, path: Path) -> None:
    """Without a date and random names: the same file for the same picture."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "path"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


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
