"""pure: drawings of the primary's training: loss ratio, sizes and losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qsit_ray.losses import symbols
from qsit_ray.report import drawing
from qsit_ray.report.drawing import INK, MUTED, PAPER, colours
from qsit_ray.report.formats import significant
from qsit_ray.report.names import labels
from qsit_ray.run_files import EpochLine
from qsit_ray.step_lines import StepLine

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 300
"""Points of a curve; of more steps, neighbours are drawn as their mean."""


def loss_ratio(epochs: Sequence[EpochLine]) -> str:
    """L_S / L_I of each epoch against λ, with the band in which the controller holds."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        numbers = [line.epoch for line in epochs]
        known = [line for line in epochs if line.reference_loss_ratio is not None]
        if known:
            _references(axes, known, numbers)
        ratios = [line.loss_ratio for line in epochs]
        axes.plot(numbers, ratios, color=INK)
        for at, (line, ratio) in enumerate(zip(epochs, ratios, strict=True)):
            text = (
                f"epoch {line.epoch} · {symbols(line.losses)} {significant(ratio)} · "
                f"λ {significant(line.reference_loss_ratio)}"
            )
            drawing.point(
                axes, line.epoch, ratio, text, marker="o", color=INK, markersize=7,
                markeredgecolor=PAPER, markeredgewidth=1.2,
            )  # fmt: skip
            neighbours = [*ratios[max(0, at - 1) : at], *ratios[at + 1 : at + 2]] or [ratio]
            above = ratio >= float(np.mean(neighbours))  # the line is on the other side
            reference = line.reference_loss_ratio
            if reference is not None and abs(ratio / reference - 1) < 0.5:
                above = ratio >= reference  # away from λ
            axes.annotate(
                f"{ratio:#.3g}", (numbers[at], ratio), xytext=(0, 9 if above else -9),
                textcoords="offset points", ha="center", va="bottom" if above else "top",
            )  # fmt: skip
        axes.margins(y=0.25)
        axes.grid(axis="y")
        drawing.plain_values(axes)
        _epoch_ticks(axes, numbers)

    return drawing.svg(draw, 3.5, "Loss ratio against λ by epoch")


def _references(axes: Axes, known: Sequence[EpochLine], numbers: Sequence[int]) -> None:
    ends = [numbers[0] - 0.5, *(line.epoch for line in known), numbers[-1] + 0.5]
    held = np.array([line.reference_loss_ratio for line in known], np.float64)
    band = np.array([line.tolerance or 0.0 for line in known])
    held, band = (np.concatenate([v[:1], v, v[-1:]]) for v in (held, band))
    axes.fill_between(
        ends, held * (1 - band), held * (1 + band), color=MUTED, alpha=0.14, linewidth=0
    )
    axes.plot(ends, held, color=INK, linestyle=(0, (4, 3)), linewidth=1.1)
    axes.set_xlim(ends[0], ends[-1])
    # Where λ changes over the epochs, at its first value, which is far from the ratio's last.
    at, side = (0, "left") if held[0] != held[-1] else (-1, "right")
    axes.annotate(
        f"λ = {held[at]:#.3g}", (0 if side == "left" else 1, held[at]),
        xycoords=("axes fraction", "data"), xytext=(4 if side == "left" else 0, 4),
        textcoords="offset points", ha=side, va="bottom",
    )  # fmt: skip


def sizes(epochs: Sequence[EpochLine]) -> str:
    """Rows of each pool by epoch, stacked."""
    pools = [*epochs[0].sizes]
    label, colour = labels(pools), colours(pools)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        numbers = [line.epoch for line in epochs]
        base = np.zeros(len(epochs))
        tallest = max(line.sizes.total for line in epochs)
        for pool in pools:
            rows = np.array([line.sizes[pool] for line in epochs], dtype=float)
            bars = axes.bar(
                numbers, rows, bottom=base, width=0.62,
                color=colour[pool], edgecolor=PAPER, linewidth=1,
            )  # fmt: skip
            for bar, number, size, foot in zip(bars, numbers, rows, base, strict=True):
                text = f"epoch {number} · {label[pool]} {pool} · {int(size):,} rows"
                bar.set_gid(drawing.tip(text))
                if size > 0.06 * tallest and len(epochs) <= 8:
                    axes.text(
                        number, foot + size / 2, f"{int(size):,}",
                        color=PAPER, ha="center", va="center",
                    )  # fmt: skip
            axes.annotate(
                label[pool], (numbers[-1] + 0.38, base[-1] + rows[-1] / 2),
                color=colour[pool], ha="left", va="center", fontweight="bold",
            )  # fmt: skip
            base += rows
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        _epoch_ticks(axes, numbers)

    return drawing.svg(draw, 3.5, "Rows of each pool by epoch")


def steps(lines: Sequence[StepLine]) -> str:
    """Training losses of the pools and the learning rate over the optimiser steps of all epochs,
    with a line at the end of each epoch."""
    pools = [*lines[0].losses]
    label, colour = labels(pools), colours(pools)

    def draw(figure: Figure) -> None:
        top, bottom = figure.subplots(2, 1, height_ratios=[4, 1], sharex=True)
        numbers = np.arange(1, len(lines) + 1)
        drawn: list[float] = []
        for pool in pools:
            losses = np.array([line.losses[pool] for line in lines], np.float64)
            at, means = thinned(numbers, losses)
            if not at.size:
                continue
            drawn += means.tolist()
            top.plot(at, means, color=colour[pool], linewidth=1.5, marker="o" * (at.size == 1))
            top.annotate(
                label[pool], (1, means[-1]), xycoords=("axes fraction", "data"),
                xytext=(5, 0), textcoords="offset points", color=colour[pool],
                va="center", fontweight="bold",
            )  # fmt: skip
        top.grid(axis="y")
        if drawn:
            drawing.plain_logarithms(top, drawn)
        at, rates = thinned(numbers, np.array([line.rate for line in lines], np.float64))
        bottom.plot(at, rates, color=MUTED, linewidth=1.5)
        bottom.set_ylim(0, 1.15 * (float(rates.max(initial=0.0)) or 1.0))
        bottom.set_yticks([0, float(rates.max(initial=0.0)) or 1.0])
        bottom.yaxis.set_major_formatter(lambda value, _: f"{value:.2g}")
        bottom.annotate(
            "learning rate", (1, 1), xycoords="axes fraction", xytext=(0, 2),
            textcoords="offset points", ha="right", va="bottom", color=MUTED, fontsize=10.5,
        )  # fmt: skip
        for before, line, number in zip(lines, lines[1:], numbers, strict=False):
            if line.epoch != before.epoch:
                for axes in (top, bottom):
                    axes.axvline(number + 0.5, color=MUTED, linestyle=(0, (1, 2)), linewidth=1)
        bottom.set_xlim(0.5, max(len(lines) + 0.5, 2))
        bottom.xaxis.get_major_locator().set_params(integer=True)
        bottom.set_xlabel("Optimiser step", color=INK)

    return drawing.svg(draw, 3.5, "Training losses by step")


def thinned(
    at: NDArray[np.int64], values: NDArray[np.float64], most: int = MOST_POINTS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most so many points of a curve: means of neighbours, of the values that are known."""
    parts = np.array_split(np.arange(values.size), min(most, values.size) or 1)
    kept = [part[np.isfinite(values[part])] for part in parts]
    kept = [part for part in kept if part.size]
    means = [(float(at[part].mean()), float(values[part].mean())) for part in kept]
    x, y = np.array(means, np.float64).reshape(-1, 2).T
    return x, y


def _epoch_ticks(axes: Axes, numbers: Sequence[int]) -> None:
    axes.set_xticks(list(numbers)[:: 1 + len(numbers) // 12])
    axes.set_xlim(numbers[0] - 0.6, numbers[-1] + 0.75)
    axes.set_xlabel("Epoch", color=INK)
