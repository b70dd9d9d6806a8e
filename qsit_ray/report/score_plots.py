"""pure: drawings of results: both tasks against each other, scores over MOS, and models over all
benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qsit_ray.evaluation.calibration import Bin
from qsit_ray.report import drawing
from qsit_ray.report.drawing import INK, MUTED, PAPER, POOLS
from qsit_ray.report.formats import significant
from qsit_ray.report.predictions import ScoredImage
from qsit_ray.report.tradeoff import Mix, Tradeoff
from qsit_ray.search.records import FINAL_PROXIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HOVERED, MOST_DRAWN = 300, 1500
"""Images that tell what they are, and images that are drawn, of one data set."""
_MARKERS = ("o", "^", "s")
"""Of the searches, in their order; the final proxies have a star."""


def tradeoff(found: Tradeoff) -> str:
    """Scoring over interpreting: trials small, means over a mix's seeds large, the front a line.

    Circles: the first search; triangles and squares: later ones; star: the final proxies.
    """
    markers = {**dict(zip(found.searches, _MARKERS, strict=False)), FINAL_PROXIES: "*"}

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.grid()
        for mix in found.mixes:
            marker = markers[mix.search]
            for told, interpreting, scoring in mix.trials:
                drawing.point(
                    axes, interpreting, scoring, told,
                    marker=marker, markersize=4, color=MUTED, alpha=0.55, markeredgewidth=0,
                )  # fmt: skip
        front = [mix for mix in found.mixes if mix.on_front]
        axes.plot(
            [mix.interpreting for mix in front], [mix.scoring for mix in front],
            color=INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=2.5,
        )  # fmt: skip
        for mix in found.mixes:
            _mix(axes, mix, markers[mix.search])
        axes.set_xlabel(found.x_title, color=INK)
        drawing.plain_values(axes)

    return drawing.svg(draw, 4.2, f"{found.y_title} over {found.x_title}, all trials")


def _mix(axes: Any, mix: Mix, marker: str) -> None:
    if mix.search == FINAL_PROXIES:
        style = {"color": POOLS[1], "markeredgecolor": PAPER, "markersize": 13}
    elif mix.on_front:
        style = {"color": INK, "markeredgecolor": PAPER, "markersize": 7.5}
    else:
        style = {"color": PAPER, "markeredgecolor": INK, "markersize": 7.5}
    drawing.point(
        axes, mix.interpreting, mix.scoring, mix.told, marker=marker,
        markeredgewidth=1.2, zorder=4 if mix.search == FINAL_PROXIES else 3, **style,
    )  # fmt: skip


def scatter(
    images: Sequence[ScoredImage],
    bins: Sequence[Bin],
    before: Sequence[Bin],
    label: str,
    truth: str,
) -> str:
    """Predicted score over the labelled one: images, and the mean prediction in bins of the label
    with its interval; dotted: the same of the untrained model."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.grid()
        # Evenly over the label where there are too many to draw.
        order = sorted(images, key=lambda image: image.truth)
        shown = [order[int(i)] for i in np.linspace(0, len(order) - 1, min(len(order), MOST_DRAWN))]
        style: dict[str, Any] = {"color": MUTED, "markeredgewidth": 0, "linestyle": "none"}
        style |= {"marker": "o", "markersize": 5, "alpha": 0.6}
        if len(shown) <= HOVERED:
            for image in shown:
                text = (
                    f"{image.name} · predicted {image.score:.2f} ± {image.std:.2f} · "
                    f"{truth} {significant(image.truth)}"
                )
                drawing.point(axes, image.truth, image.score, text, **style)
        else:
            style |= {"markersize": 3, "alpha": 0.35}
            axes.plot([one.truth for one in shown], [one.score for one in shown], **style)
        if len(before) > 1:
            axes.plot(
                [one.truth for one in before], [one.prediction for one in before],
                color=MUTED, linewidth=1.4, linestyle=(0, (1, 2)),
            )  # fmt: skip
        axes.plot(
            [one.truth for one in bins], [one.prediction for one in bins],
            color=POOLS[0], linewidth=1.6,
        )  # fmt: skip
        for one in bins:
            ends = one.interval or (one.prediction, one.prediction)
            apart = [[max(0.0, one.prediction - ends[0])], [max(0.0, ends[1] - one.prediction)]]
            bar = axes.errorbar(
                [one.truth], [one.prediction], yerr=apart, fmt="o", color=POOLS[0],
                markersize=7, markeredgecolor=PAPER, markeredgewidth=1.2, elinewidth=1.4,
            )  # fmt: skip
            bar[0].set_gid(
                drawing.tip(
                    f"{one.rows} images of mean {truth} {significant(one.truth)} · "
                    f"mean prediction {one.prediction:.3f} · {ends[0]:.3f} to {ends[1]:.3f}"
                )
            )
        axes.set_xlabel(truth, color=INK)
        drawing.plain_values(axes)

    return drawing.svg(draw, 4.0, f"Predicted score over {truth}, {label}")


def radar(axes_names: Sequence[str], models: Mapping[str, Sequence[float]]) -> str:
    """Each model's values on axes from 0, or below, in the middle to 1 at the rim (Fig. 5).

    The first model is a thick line, the second dashed, others dotted.
    """

    def draw(figure: Figure) -> None:
        axes: Any = figure.add_subplot(projection="polar")
        angles = np.linspace(0, 2 * np.pi, len(axes_names), endpoint=False)
        axes.set_theta_offset(np.pi / 2)
        axes.set_theta_direction(-1)
        styles: list[dict[str, Any]] = [
            {"color": INK, "linewidth": 2},
            {"color": MUTED, "linewidth": 1.4, "linestyle": (0, (4, 3))},
            {"color": POOLS[1], "linewidth": 1.6, "linestyle": (0, (1, 1.5))},
        ]
        for number, (name, values) in enumerate(models.items()):
            style = styles[min(number, 2)]
            closed = np.clip(np.append(values, values[0]), 0, 1)
            axes.plot(np.append(angles, angles[0]), closed, **style)
            for angle, shown, value, axis in zip(angles, closed, values, axes_names, strict=False):
                drawing.point(
                    axes, angle, shown, f"{name} · {axis} {significant(value)}",
                    marker="o", markersize=5, color=style["color"], markeredgewidth=0,
                )  # fmt: skip
        axes.set_ylim(0, 1)
        axes.set_yticks(
            [0.25, 0.5, 0.75, 1.0], [""] * 4
        )  # the caption tells: they would lie on lines
        axes.set_xticks(angles, [_short(name) for name in axes_names])
        for label, angle in zip(axes.get_xticklabels(), angles, strict=True):
            across = np.sin(angle)
            label.set_horizontalalignment(
                "center" if abs(across) < 0.1 else "left" if across > 0 else "right"
            )
        axes.tick_params(axis="x", pad=4)
        axes.grid(color=drawing.RULE, linewidth=0.6)
        axes.spines["polar"].set_visible(False)

    return drawing.svg(draw, 4.4, "Models over all benchmarks")


def _short(name: str) -> str:
    """In two lines where it is long."""
    return name.replace(" ", "\n", 1) if len(name) > 12 else name


def differences(values: Sequence[float], x_title: str) -> str:
    """Histogram of differences with their mean; one bar stands about 0."""

    def draw(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        found = np.asarray(values, dtype=np.float64)
        bars = int(np.clip(2 * np.sqrt(found.size), 9, 45))
        # 0 is always in view, and a bar is never too thin to be seen.
        width = max(float(np.ptp(found)) / bars, float(np.abs(found).max()) / 100, 1e-4)
        first, last = np.floor(np.array([found.min(), found.max()]) / width + 0.5)
        edges = (np.arange(first, last + 2) - 0.5) * width
        axes.hist(found, edges.tolist(), color=MUTED, alpha=0.55, edgecolor=PAPER, linewidth=0.8)
        axes.set_xlim((min(first, -4) - 0.6) * width, (max(last, 4) + 0.6) * width)
        axes.axvline(0, color=INK, linewidth=1)
        mean = float(found.mean())
        axes.axvline(mean, color=INK, linestyle=(0, (4, 3)), linewidth=1.1)
        axes.annotate(
            f"mean {mean:.3f}".replace("-", "−"), (mean, 1), xycoords=("data", "axes fraction"),
            xytext=(0, 4), textcoords="offset points", ha="center", va="bottom",
        )  # fmt: skip
        axes.set_title("Pairs", pad=24)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_xlabel(x_title, color=INK)

    return drawing.svg(draw, 3.4, f"Histogram of {x_title}")
