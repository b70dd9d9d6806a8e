"""pure: the plot of one fit as an image file."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from qsit_ray.errors import InputError
from qsit_ray.surrogate.comparison import Comparison
from qsit_ray.surrogate.curve import predict
from qsit_ray.surrogate.observations import Observations

ENDINGS = (".svg", ".png", ".pdf")
# Of Okabe and Ito: told apart by colour-blind readers.
_ANSWER, _OTHER, _OUTLIER = "#0072B2", "#999999", "#D55E00"


def check_ending(path: Path) -> None:
    """Raises InputError for a file of another kind; call it before long work."""
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path}: the ending must be one of {', '.join(ENDINGS)}")


def write(path: Path, seen: Observations, found: Comparison, x_title: str, y_title: str) -> None:
    """Draw the scores, the curve that answers with its interval, and the others.

    `seen` has the scores as they are in the table. Raises InputError where the file can't be
    written.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    fit = found.fit
    axes.axvspan(*fit.interval, color=_ANSWER, alpha=0.12, linewidth=0)
    others = itertools.cycle([":", "--", "-."])
    for name, curve in found.curves.items():
        ratios = np.clip(np.geomspace(curve.low, curve.high, 300), curve.low, curve.high)
        answers = name == found.used
        axes.plot(
            ratios,
            predict(curve, ratios),
            color=_ANSWER if answers else _OTHER,
            linewidth=2 if answers else 1,
            linestyle="-" if answers else next(others),
            label=f"{name} (answer)" if answers else name,
        )
    left_out = np.isin(seen.rows, [each.row for each in found.outliers])
    axes.plot(seen.ratios[~left_out], seen.scores[~left_out], "o", color="#333333", alpha=0.6, ms=4)
    low, high = seen.scores[~left_out].min(), seen.scores[~left_out].max()
    room = 0.15 * (high - low) or 1.0
    axes.set_ylim(low - room, high + room)  # a curve that flies off does not hide the scores
    if left_out.any():
        axes.plot(
            seen.ratios[left_out],
            np.clip(seen.scores[left_out], low - room, high + room),
            "x",
            color=_OUTLIER,
            label="outlier, left out",
            clip_on=False,
        )
    axes.axvline(fit.optimum, color=_ANSWER, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(x_title)
    axes.set_ylabel(y_title)
    axes.set_title(f"best {fit.optimum:.3g}, {100 * fit.confidence:g} % interval "
                   f"{fit.interval[0]:.3g} to {fit.interval[1]:.3g}", fontsize=10)  # fmt: skip
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    try:
        figure.savefig(path, dpi=160)
    except OSError as error:
        raise InputError(f"{path}: can't write it: {error}") from None
