"""pure: the pictures of docs/METHOD.md: the path of the data, a fitted search, and the controller.

The search and the controller are simulated, by the responses and the toy of the other studies, so
that the truth beside them is known. Writes method_path.svg, method_search.svg and
method_controller.svg.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from qsit_ray.config.presets import paper
from qsit_ray.config.train import Controller
from qsit_ray.controller import MixtureController, Reference
from qsit_ray.evaluation.studies.controller import FIRST, LAMBDA, Toy, sides
from qsit_ray.evaluation.studies.panels import save_svg
from qsit_ray.evaluation.studies.response_curves import NOISES, POINT, Kind, family
from qsit_ray.surrogate.comparison import PAPER_DEGREE
from qsit_ray.surrogate.curve import polynomial, predict, process
from qsit_ray.surrogate.observations import observed

# Of Okabe and Ito: told apart by colour-blind readers.
SCORING, INTERPRETING, GENERAL = "#0072B2", "#D55E00", "#009E73"
GREY = "#777777"
SHOWN: tuple[tuple[Kind, int, str], ...] = (
    ("peak", 3, "one peak"),
    ("two peaks", 1, "two peaks: the quartic can't follow"),
)
"""Kinds of responses, the number of one in its family, and a title."""
START, EPOCHS = 1.2, 8
"""L_S/L_I after the first epoch as a multiple of λ, and the epochs that are drawn."""


def write(out: Path) -> None:
    """All pictures, into the folder `out`."""
    draw_path(out / "method_path.svg")
    draw_search(out / "method_search.svg")
    draw_controller(out / "method_controller.svg")


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


BOXES = {
    "D1": (0.0, 2.0, "D1 scoring\nimages with opinion scores", SCORING),
    "D2": (0.0, 1.0, "D2 interpreting\nquestions about quality", INTERPRETING),
    "D3": (0.0, 0.0, "D3 general\nother instructions", GENERAL),
    "A": (1.0, 0.5, "search 1, proxy\nratio D2 : D3", GREY),
    "B": (2.0, 1.25, "search 2, proxy\nratio (D2 + D3) : D1", GREY),
    "mix": (3.0, 1.25, "the mix, and λ\nof the final proxies", GREY),
    "train": (4.0, 1.25, "the primary\nepoch after epoch", GREY),
    "control": (4.0, 0.0, "L_S / L_I against λ:\nrows of the next epoch", GREY),
}
"""Column, row, text and colour."""
ARROWS = [
    *[("D2", "A"), ("D3", "A"), ("A", "B"), ("D1", "B"), ("B", "mix"), ("mix", "train")],
    *[("train", "control"), ("control", "train")],
]


def draw_path(path: Path) -> None:
    """Which data meet in which search, and what the primary is held to."""
    figure = _figure(11.0, 3.0)
    axes = figure.subplots()
    axes.set_xlim(-0.5, 4.5)
    axes.set_ylim(-0.5, 2.5)
    axes.axis("off")
    boxes = {}
    for name, (column, row, text, colour) in BOXES.items():
        box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": colour, "lw": 1.5}
        boxes[name] = axes.text(
            column, row, text, ha="center", va="center", fontsize=9, color="#222222", bbox=box
        )
    for start, end in ARROWS:
        # Between training and controller one arrow down and one up, beside each other.
        bent = {("train", "control"): 0.35, ("control", "train"): 0.35}.get((start, end), 0.0)
        style = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 2, "shrinkB": 2}
        axes.annotate(
            "",
            xy=BOXES[end][:2],
            xytext=BOXES[start][:2],
            arrowprops={
                **style,
                "connectionstyle": f"arc3,rad={bent}",
                "patchA": boxes[start].get_bbox_patch(),
                "patchB": boxes[end].get_bbox_patch(),
            },
        )
    save_svg(figure, path)


def draw_search(path: Path, noise: float = NOISES[1], seed: int = 0) -> None:
    """Two responses searched at the paper's ratios: runs, truth, and both curves."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    space = paper().space("interpreting_general")
    ratios = np.repeat(space.ratios, len(space.seeds))
    figure = _figure(10.0, 3.8)
    panels = figure.subplots(1, len(SHOWN))
    for number, (panel, (kind, place, title)) in enumerate(zip(panels, SHOWN, strict=True)):
        curve = family(kind, place + 1)[place]
        seen = observed(
            ratios, curve.observed(ratios, noise, np.random.default_rng([seed, number]))
        )
        quartic = polynomial(seen, PAPER_DEGREE, "ratio", seed=seed)
        recommended = process(seen, seed=seed)
        line = np.geomspace(ratios.min(), ratios.max(), 300)
        panel.axvspan(*recommended.interval, color=SCORING, alpha=0.12, lw=0)
        panel.plot(
            ratios, seen.scores / POINT, "o", color="#333333", alpha=0.45, ms=3, label="runs"
        )
        panel.plot(line, curve.truth(line) / POINT, color=GREY, ls=":", label="truth")
        for fit, colour, label in (
            (quartic, INTERPRETING, "quartic over ratio (paper)"),
            (recommended, SCORING, "Gaussian process, its interval"),
        ):
            panel.plot(line, predict(fit, line) / POINT, color=colour, label=label)
            panel.plot(
                fit.optimum, predict(fit, [fit.optimum]) / POINT, "v", color=colour, ms=8, zorder=3
            )
        panel.plot(curve.argmax, curve.truth(curve.argmax) / POINT, "*", color="black", ms=9)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xlabel("ratio D2 : D3")
        panel.set_title(title, fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("score, points")
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, fontsize=8, frameon=False, ncols=4, loc="outside lower center")
    save_svg(figure, path)


def draw_controller(path: Path) -> None:
    """A toy primary whose scoring lags: its loss ratio by epoch, and the rows that it is given."""
    toy = Toy(START, noise=0.0)
    controller = MixtureController(FIRST, [Reference(0.0, LAMBDA)], Controller())
    held = np.zeros(2)
    ratios = []
    for epoch in range(EPOCHS):
        sizes = controller.mixture(epoch)
        held = toy.memory * held + [*sides(sizes)]
        scoring, interpreting = toy.losses(held).tolist()
        controller.observe(epoch, {"scoring": scoring, "interpreting": interpreting})
        ratios.append(scoring / interpreting / LAMBDA)
    figure = _figure(10.0, 3.2)
    left, right = figure.subplots(1, 2)
    left.axhspan(0.95, 1.05, color="0.9", label="band: nothing changes")
    left.axhline(1.0, color="0.4", lw=0.8)
    left.plot(range(EPOCHS), ratios, "o-", color="#222222", label="L_S/L_I over λ")
    left.set_title("the loss ratio after each epoch", fontsize=10)
    left.legend(fontsize=8, frameon=False)
    below = np.zeros(EPOCHS)
    for domain, colour in (
        ("scoring", SCORING), ("interpreting", INTERPRETING), ("general", GENERAL)
    ):  # fmt: skip
        rows = np.array([controller.mixture(epoch)[domain] for epoch in range(EPOCHS)])
        right.bar(range(EPOCHS), rows / 1000, bottom=below, color=colour, label=domain)
        below += rows / 1000
    right.set_title("thousands of rows that each epoch trains", fontsize=10)
    right.set_ylim(0, 1.35 * below.max())
    right.legend(fontsize=8, frameon=False, ncols=3, loc="upper right")
    for panel in (left, right):
        panel.set_xlabel("epoch")
        panel.spines[["top", "right"]].set_visible(False)
    save_svg(figure, path)
