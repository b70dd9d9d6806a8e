"""pure: the report's plots as inline SVG whose colours are the page's own CSS variables."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qsit_ray.mixture import DOMAINS
from qsit_ray.run_files import EpochLine
from qsit_ray.search.trials import TrialOutcome
from qsit_ray.surrogate.comparison import Comparison, Curve
from qsit_ray.surrogate.curve import Fit, predict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {"scoring": "D1", "interpreting": "D2", "general": "D3"}
Shares = Callable[[float], Mapping[str, float]]

# Matplotlib has no CSS variables: each is drawn as a colour that nothing else has, and replaced
# in the SVG. So one drawing serves the light page, the dark page and print.
_INK, _MUTED, _RULE, _PAPER = "#010203", "#010204", "#010205", "#010206"
_DOMAIN = {"scoring": "#010207", "interpreting": "#010208", "general": "#010209"}
_VARIABLES = {_INK: "ink", _MUTED: "muted", _RULE: "rule", _PAPER: "paper"}
_VARIABLES |= {colour: domain for domain, colour in _DOMAIN.items()}
_WIDTH = 6.4  # inches of 72 units; the page scales the drawing to its column
_SETTINGS: Any = {
    "svg.fonttype": "none", "font.size": 11.5, "text.color": _INK,
    "axes.edgecolor": _RULE, "axes.labelcolor": _MUTED, "axes.titlecolor": _MUTED,
    "axes.titlesize": 11.5, "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False,
    "xtick.color": _MUTED, "xtick.labelsize": 11, "xtick.major.size": 3,
    "ytick.color": _MUTED, "ytick.labelsize": 11, "ytick.major.size": 0,
    "grid.color": _RULE, "grid.linewidth": 0.6,
}  # fmt: skip


def curve(
    trials: Sequence[TrialOutcome],
    fitted: Comparison | None,
    x_title: str,
    y_title: str,
    shares: Shares | None,
) -> str:
    """Score over ratio: trials, mean and standard deviation of each ratio, the fit, its optimum.

    The curve is thick in the fit's regret zone. Dotted: the recommended curve, or the paper's where
    the recommended one is used. `shares` gives the rows of each domain at a ratio, in any unit;
    they are drawn as a strip below.
    """

    def draw(figure: Figure) -> None:
        from matplotlib.transforms import ScaledTranslation

        heights = [6, 1] if shares else [1]
        axes = figure.subplots(len(heights), 1, height_ratios=heights, sharex=True, squeeze=False)
        top, bottom = axes[0, 0], axes[-1, 0]
        scores: dict[float, list[float]] = {}
        for row in trials:
            if row.score is not None:
                scores.setdefault(row.ratio, []).append(row.score)
        low, high = min(row.ratio for row in trials), max(row.ratio for row in trials)
        top.set_xscale("log")
        margin = (high / low) ** 0.04 if high > low else 2.0
        top.set_xlim(low / margin, high * margin)
        top.set_title(y_title, pad=24)
        top.grid(axis="y")
        if fitted is not None:
            _fit(top, fitted.fit)
            _second_curve(top, fitted)
        # Left of the mean's bar, which would hide them.
        left = ScaledTranslation(-7 / 72, 0, figure.dpi_scale_trans)
        done = [row for row in trials if row.score is not None]
        top.plot(
            [row.ratio for row in done], [row.score for row in done],
            "o", markersize=4.5, color=_MUTED, alpha=0.7, markeredgewidth=0,
            transform=top.transData + left,
        )  # fmt: skip
        for ratio, repeats in sorted(scores.items()):
            spread = float(np.std(repeats, ddof=1)) if len(repeats) > 1 else None
            top.errorbar(
                [ratio], [float(np.mean(repeats))], yerr=spread,
                fmt="o", markersize=7, color=_INK, markeredgecolor=_PAPER, markeredgewidth=1.2,
                elinewidth=1.2, capsize=3,
            )  # fmt: skip
        if shares:
            _strip(bottom, shares, low, high)
        _ratio_ticks(bottom, low, high)
        bottom.set_xlabel(x_title, color=_INK)

    return _svg(draw, 4.7, f"{y_title} over {x_title}")


def losses(trials: Sequence[TrialOutcome], curves: Mapping[str, Curve], x_title: str) -> str:
    """Validation losses of the trials over the ratio, and their quotient L_S / L_I, with the
    smoothed `curves` of a fit; all logarithmic."""
    panels: list[tuple[str, dict[str, str | None]]] = [
        (
            "L_S and L_I, nats a token",
            {"loss_scoring": "scoring", "loss_interpreting": "interpreting"},
        ),
        ("L_S / L_I", {"loss_ratio": None}),
    ]

    def draw(figure: Figure) -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        done = [row for row in trials if row.loss_scoring and row.loss_interpreting]
        low, high = min(row.ratio for row in done), max(row.ratio for row in done)
        for axes, (title, names) in zip(figure.subplots(1, 2), panels, strict=True):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_title(title, pad=10)
            axes.grid(axis="y")
            for name, domain in names.items():
                colour = _INK if domain is None else _DOMAIN[domain]
                values = [_loss(row, name) for row in done]
                axes.plot(
                    [row.ratio for row in done], values,
                    "o", markersize=4, color=colour, alpha=0.6, markeredgewidth=0,
                )  # fmt: skip
                if name in curves:
                    axes.plot(*zip(*curves[name], strict=True), color=colour, linewidth=1.6)
                if domain is not None:
                    label = "L_S" if domain == "scoring" else "L_I"
                    axes.annotate(
                        label, (1, float(np.median(values[-3:]))),
                        xycoords=("axes fraction", "data"), xytext=(4, 0),
                        textcoords="offset points", color=colour, va="center", fontweight="bold",
                    )  # fmt: skip
            _ratio_ticks(axes, low, high, most=10)
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.set_xlabel(x_title, color=_INK)

    return _svg(draw, 2.9, f"Losses over {x_title}")


def _loss(row: TrialOutcome, name: str) -> float:
    scoring, interpreting = row.loss_scoring or np.nan, row.loss_interpreting or np.nan
    return float(
        {"loss_scoring": scoring, "loss_interpreting": interpreting}.get(
            name, scoring / interpreting
        )
    )


def loss_ratio(epochs: Sequence[EpochLine]) -> str:
    """L_S / L_I of each epoch against λ, with the band in which the controller holds."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        numbers = [line.epoch for line in epochs]
        known = [line for line in epochs if line.reference_loss_ratio is not None]
        if known:
            ends = [numbers[0] - 0.5, *(line.epoch for line in known), numbers[-1] + 0.5]
            held = np.array([line.reference_loss_ratio for line in known], np.float64)
            band = np.array([line.tolerance or 0.0 for line in known])
            held, band = (np.concatenate([v[:1], v, v[-1:]]) for v in (held, band))
            axes.fill_between(
                ends, held * (1 - band), held * (1 + band),
                color=_MUTED, alpha=0.14, linewidth=0,
            )  # fmt: skip
            axes.plot(ends, held, color=_INK, linestyle=(0, (4, 3)), linewidth=1.1)
            axes.set_xlim(ends[0], ends[-1])
            axes.annotate(
                f"λ = {held[-1]:#.3g}", (1, held[-1]), xycoords=("axes fraction", "data"),
                xytext=(0, 4), textcoords="offset points", ha="right", va="bottom",
            )  # fmt: skip
        ratios = [line.loss_ratio for line in epochs]
        axes.plot(
            numbers, ratios, "o-", color=_INK, markersize=7,
            markeredgecolor=_PAPER, markeredgewidth=1.2,
        )  # fmt: skip
        for at, ratio in enumerate(ratios):
            neighbours = [*ratios[max(0, at - 1) : at], *ratios[at + 1 : at + 2]] or [ratio]
            above = ratio >= float(np.mean(neighbours))  # the line is on the other side
            axes.annotate(
                f"{ratio:#.3g}", (numbers[at], ratio), xytext=(0, 9 if above else -9),
                textcoords="offset points", ha="center", va="bottom" if above else "top",
            )  # fmt: skip
        axes.set_title("Loss ratio L_S / L_I on validation rows", pad=10)
        axes.margins(y=0.25)
        axes.grid(axis="y")
        _epoch_ticks(axes, numbers)

    return _svg(draw, 3.7, "Loss ratio against λ by epoch")


def sizes(epochs: Sequence[EpochLine]) -> str:
    """Rows of each domain by epoch, stacked."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        numbers = [line.epoch for line in epochs]
        base = np.zeros(len(epochs))
        tallest = max(line.sizes.total for line in epochs)
        for domain in DOMAINS:
            rows = np.array([line.sizes.counts()[domain] for line in epochs], dtype=float)
            axes.bar(
                numbers, rows, bottom=base, width=0.62,
                color=_DOMAIN[domain], edgecolor=_PAPER, linewidth=1,
            )  # fmt: skip
            for number, size, foot in zip(numbers, rows, base, strict=True):
                if size > 0.06 * tallest and len(epochs) <= 8:
                    axes.text(
                        number, foot + size / 2, f"{int(size):,}",
                        color=_PAPER, ha="center", va="center",
                    )  # fmt: skip
            axes.annotate(
                LABELS[domain], (numbers[-1] + 0.38, base[-1] + rows[-1] / 2),
                color=_DOMAIN[domain], ha="left", va="center", fontweight="bold",
            )  # fmt: skip
            base += rows
        axes.set_title("Rows trained in the epoch", pad=10)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        _epoch_ticks(axes, numbers)

    return _svg(draw, 3.7, "Rows of each domain by epoch")


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
        axes.hist(found, edges.tolist(), color=_MUTED, alpha=0.55, edgecolor=_PAPER, linewidth=0.8)
        axes.set_xlim((min(first, -4) - 0.6) * width, (max(last, 4) + 0.6) * width)
        axes.axvline(0, color=_INK, linewidth=1)
        mean = float(found.mean())
        axes.axvline(mean, color=_INK, linestyle=(0, (4, 3)), linewidth=1.1)
        axes.annotate(
            f"mean {mean:.3f}".replace("-", "−"), (mean, 1), xycoords=("data", "axes fraction"),
            xytext=(0, 4), textcoords="offset points", ha="center", va="bottom",
        )  # fmt: skip
        axes.set_title("Pairs", pad=24)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_xlabel(x_title, color=_INK)

    return _svg(draw, 3.4, f"Histogram of {x_title}")


def _fit(axes: Axes, fitted: Fit) -> None:
    axes.axvspan(*fitted.interval, color=_MUTED, alpha=0.14, linewidth=0)
    for (low, high), width in (((fitted.low, fitted.high), 1.4), (fitted.regret_zone, 3.2)):
        ratios = np.geomspace(low, high, 200)
        # Rounding may put an end slightly outside of the searched interval.
        ratios = np.clip(ratios, fitted.low, fitted.high)
        axes.plot(ratios, predict(fitted, ratios), color=_INK, linewidth=width)
    axes.axvline(fitted.optimum, color=_INK, linestyle=(0, (4, 3)), linewidth=1.1)
    axes.annotate(
        f"optimum {fitted.optimum:#.3g}", (fitted.optimum, 1), xycoords=("data", "axes fraction"),
        xytext=(0, 4), textcoords="offset points", ha="center", va="bottom",
    )  # fmt: skip


def _second_curve(axes: Axes, fitted: Comparison) -> None:
    others = [name for name in (fitted.recommended, *fitted.curves) if name != fitted.used]
    if others:
        other = fitted.curves[others[0]]
        ratios = np.clip(np.geomspace(other.low, other.high, 200), other.low, other.high)
        axes.plot(
            ratios, predict(other, ratios), color=_MUTED, linewidth=1.2, linestyle=(0, (1, 2))
        )


def _strip(axes: Axes, shares: Shares, low: float, high: float) -> None:
    """The share of each domain in the rows, over the axis."""
    ratios = np.geomspace(low, high, 120)
    rows = np.array([[shares(float(r)).get(domain, 0.0) for r in ratios] for domain in DOMAINS])
    edges = np.vstack([np.zeros_like(ratios), np.cumsum(rows / rows.sum(axis=0), axis=0)])
    for number, domain in enumerate(DOMAINS):
        foot, head = edges[number], edges[number + 1]
        if not np.any(head > foot):
            continue
        axes.fill_between(ratios, foot, head, color=_DOMAIN[domain], linewidth=0)
        at = int(np.argmax(head - foot))
        if head[at] - foot[at] < 0.3:
            continue  # too thin for a label
        side = "left" if at < 40 else "right" if at > 80 else "center"
        axes.annotate(
            LABELS[domain], (ratios[at], (foot[at] + head[at]) / 2),
            xytext=({"left": 4, "right": -4, "center": 0}[side], 0), textcoords="offset points",
            color=_PAPER, ha=side, va="center", fontweight="bold",
        )  # fmt: skip
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _ratio_ticks(axes: Axes, low: float, high: float, most: float = 1000) -> None:
    """Ticks at 1, 2 and 5; of a span over `most`, at powers of ten alone."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    steps = (1.0, 2.0, 5.0) if high / low <= most else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _epoch_ticks(axes: Axes, numbers: Sequence[int]) -> None:
    axes.set_xticks(list(numbers)[:: 1 + len(numbers) // 12])
    axes.set_xlim(numbers[0] - 0.6, numbers[-1] + 0.75)
    axes.set_xlabel("Epoch", color=_INK)


def _svg(draw: Callable[[Figure], None], height: float, label: str) -> str:
    """An SVG element without size, namespace or metadata, for an HTML page."""
    import matplotlib
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    # The salt keeps ids of one page's plots apart and makes two builds of a run the same.
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": label}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    box = re.search(r'viewBox="[^"]*"', text)
    body = re.sub(r"<metadata>.*?</metadata>", "", text[text.index(">") + 1 :], flags=re.DOTALL)
    body = body.replace("xlink:href", "href")
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)  # the page's own font
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    return f'<svg role="img" aria-label="{label}" {box.group(0) if box else ""}>{body}'
