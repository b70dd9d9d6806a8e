"""pure: drawings of the searches: score and losses over the ratio, and both tasks against each
other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from qsit_ray.losses import LOSS, symbol, symbols
from qsit_ray.losses import ratio as quotient
from qsit_ray.report import drawing
from qsit_ray.report.drawing import INK, MUTED, PAPER, colours, ratio_ticks
from qsit_ray.report.formats import count, significant
from qsit_ray.report.names import labels
from qsit_ray.search.trials import TrialOutcome
from qsit_ray.surrogate.comparison import Comparison, Curve
from qsit_ray.surrogate.curve import Fit, predict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Shares = Callable[[float], Mapping[str, float]]


def told(row: TrialOutcome, x_title: str) -> str:
    """A trial in words, a line each."""
    rows = " : ".join(map(count, row.mixture.values())) if row.mixture else "–"
    lines = [f"{x_title} = {row.ratio:g}, seed {row.seed}", f"score {significant(row.score)}"]
    for name, value in (("SRCC", row.srcc), ("PLCC", row.plcc), ("accuracy", row.accuracy)):
        if value is not None:
            lines.append(f"{name} {significant(value)}")
    if row.losses:
        losses = (f"{symbol(task)} {significant(loss)}" for task, loss in row.losses.items())
        lines.append(", ".join(losses))
    lines.append(f"rows {rows}")
    if row.steps is not None:
        lines.append(f"{row.steps:,} steps, {significant(row.device_seconds)} device seconds")
    return " · ".join(lines)


def curve(
    trials: Sequence[TrialOutcome],
    fitted: Comparison | None,
    x_title: str,
    y_title: str,
    shares: Shares | None,
    span: tuple[float, float] | None = None,
) -> str:
    """Score over ratio: trials, mean and standard deviation of each ratio, the fit, its optimum.

    The curve is thick in the fit's regret zone. Dotted: the recommended curve, or the paper's where
    the recommended one is used. `shares` gives the rows of each pool at a ratio, in any unit;
    they are drawn as a strip below. `span`: least and greatest score of the axis, by default of
    what is drawn. `y_title` is for those who can't see the drawing; the page has it above.
    """

    def draw(figure: Figure) -> None:
        from matplotlib.transforms import ScaledTranslation

        heights = [6, 1] if shares else [1]
        axes = figure.subplots(len(heights), 1, height_ratios=heights, sharex=True, squeeze=False)
        top, bottom = axes[0, 0], axes[-1, 0]
        done = [row for row in trials if row.score is not None]
        low, high = min(row.ratio for row in trials), max(row.ratio for row in trials)
        top.set_xscale("log")
        margin = (high / low) ** 0.04 if high > low else 2.0
        top.set_xlim(low / margin, high * margin)
        top.grid(axis="y")
        if fitted is not None:
            _fit(top, fitted.fit)
            _second_curve(top, fitted)
        _means(top, done, x_title)
        # Left of the mean's bar, which would hide them.
        left = ScaledTranslation(-7 / 72, 0, figure.dpi_scale_trans)
        style = {"marker": "o", "markersize": 4.5, "color": MUTED, "alpha": 0.7}
        for row in done:
            drawing.point(
                top, row.ratio, row.score or 0.0, told(row, x_title),
                **style, markeredgewidth=0, transform=top.transData + left,
            )  # fmt: skip
        if span is not None:
            room = 0.08 * (span[1] - span[0])
            top.set_ylim(span[0] - room, span[1] + room)
        drawing.plain_values(top)
        if shares:
            _strip(bottom, shares, low, high)
        ratio_ticks(bottom, low, high)
        bottom.set_xlabel(x_title, color=INK)

    return drawing.svg(draw, 4.5, f"{y_title} over {x_title}")


def heights(trials: Sequence[TrialOutcome], fitted: Comparison | None) -> list[float]:
    """The scores of trials, and those of the used curve over its interval."""
    found = [row.score for row in trials if row.score is not None]
    if fitted is None:
        return found
    ratios = np.clip(
        np.geomspace(fitted.fit.low, fitted.fit.high, 100), fitted.fit.low, fitted.fit.high
    )
    return [*found, *predict(fitted.fit, ratios).tolist()]


def _means(axes: Axes, done: Sequence[TrialOutcome], x_title: str) -> None:
    scores: dict[float, list[float]] = {}
    for row in done:
        scores.setdefault(row.ratio, []).append(row.score or 0.0)
    for ratio, repeats in sorted(scores.items()):
        mean, spread = float(np.mean(repeats)), None
        text = f"{x_title} = {ratio:g} · mean of {len(repeats)}: {significant(mean)}"
        if len(repeats) > 1:
            spread = float(np.std(repeats, ddof=1))
            text += f" · standard deviation {significant(spread)}"
        found = axes.errorbar(
            [ratio], [mean], yerr=spread, fmt="o", markersize=7, color=INK,
            markeredgecolor=PAPER, markeredgewidth=1.2, elinewidth=1.2, capsize=3,
        )  # fmt: skip
        found[0].set_gid(drawing.tip(text))


def losses(trials: Sequence[TrialOutcome], curves: Mapping[str, Curve], x_title: str) -> str:
    """Validation losses of the trials over the ratio, and their quotient, with the smoothed
    `curves` of a fit; all logarithmic. `trials`: one or more has losses."""
    done = [(row, row.losses) for row in trials if row.losses and all(row.losses.values())]
    tasks = [*done[0][1]]
    colour = colours(done[0][0].mixture or tasks)
    ratios = [row.ratio for row, _ in done]
    of_tasks = {task: [found[task] for _, found in done] for task in tasks}
    quotients = {"ratio": [quotient(found) for _, found in done]}
    panels = [
        (f"{' and '.join(map(symbol, tasks))}, nats a token", of_tasks),
        (symbols(tasks), quotients),
    ]

    def draw(figure: Figure) -> None:
        engine = figure.get_layout_engine()
        if engine is not None:
            engine.set(wspace=0.1)  # type: ignore[call-arg]
        for axes, (title, lines) in zip(figure.subplots(1, 2), panels, strict=True):
            axes.set_xscale("log")
            axes.set_title(title, pad=10)
            axes.grid(axis="y")
            everything: list[float] = []
            for name, values in lines.items():
                shade = colour.get(name, INK)
                everything += values
                axes.plot(
                    ratios, values, "o", markersize=4, color=shade, alpha=0.6, markeredgewidth=0
                )
                smooth = curves.get(LOSS + name, ())
                if smooth:
                    everything += [value for _, value in smooth]
                    axes.plot(*zip(*smooth, strict=True), color=shade, linewidth=1.6)
                if name in tasks:
                    axes.annotate(
                        symbol(name), (1, float(np.median(values[-3:]))),
                        xycoords=("axes fraction", "data"), xytext=(4, 0),
                        textcoords="offset points", color=shade, va="center", fontweight="bold",
                    )  # fmt: skip
            ratio_ticks(axes, min(ratios), max(ratios), most=10)
            drawing.plain_logarithms(axes, everything)
            axes.set_xlabel(x_title, color=INK)

    return drawing.svg(draw, 2.9, f"Losses over {x_title}")


def _fit(axes: Axes, fitted: Fit) -> None:
    axes.axvspan(*fitted.interval, color=MUTED, alpha=0.14, linewidth=0)
    for (low, high), width in (((fitted.low, fitted.high), 1.4), (fitted.regret_zone, 3.2)):
        ratios = np.geomspace(low, high, 200)
        # Rounding may put an end slightly outside of the searched interval.
        ratios = np.clip(ratios, fitted.low, fitted.high)
        axes.plot(ratios, predict(fitted, ratios), color=INK, linewidth=width)
    axes.axvline(fitted.optimum, color=INK, linestyle=(0, (4, 3)), linewidth=1.1)
    within = np.log(fitted.optimum / fitted.low) / (np.log(fitted.high / fitted.low) or 1.0)
    # Near an end of the axis the label stays beside it.
    side = "left" if within < 0.15 else "right" if within > 0.85 else "center"
    axes.annotate(
        f"optimum {fitted.optimum:#.3g}", (fitted.optimum, 1), xycoords=("data", "axes fraction"),
        xytext=(0, 4), textcoords="offset points", ha=side, va="bottom",
    )  # fmt: skip


def _second_curve(axes: Axes, fitted: Comparison) -> None:
    others = [name for name in (fitted.recommended, *fitted.curves) if name != fitted.used]
    if others:
        other = fitted.curves[others[0]]
        ratios = np.clip(np.geomspace(other.low, other.high, 200), other.low, other.high)
        axes.plot(ratios, predict(other, ratios), color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)))


def _strip(axes: Axes, shares: Shares, low: float, high: float) -> None:
    """The share of each pool in the rows, over the axis."""
    ratios = np.geomspace(low, high, 120)
    found = [shares(float(ratio)) for ratio in ratios]
    pools = [*found[0]]
    label, colour = labels(pools), colours(pools)
    rows = np.array([[of[pool] for of in found] for pool in pools])
    edges = np.vstack([np.zeros_like(ratios), np.cumsum(rows / rows.sum(axis=0), axis=0)])
    for number, pool in enumerate(pools):
        foot, head = edges[number], edges[number + 1]
        if not np.any(head > foot):
            continue
        axes.fill_between(ratios, foot, head, color=colour[pool], linewidth=0)
        at = int(np.argmax(head - foot))
        if head[at] - foot[at] < 0.3:
            continue  # too thin for a label
        side = "left" if at < 40 else "right" if at > 80 else "center"
        axes.annotate(
            label[pool], (ratios[at], (foot[at] + head[at]) / 2),
            xytext=({"left": 4, "right": -4, "center": 0}[side], 0), textcoords="offset points",
            color=PAPER, ha=side, va="center", fontweight="bold",
        )  # fmt: skip
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
