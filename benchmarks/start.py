"""rim: CPU seconds of commands that only answer, beside those of importing their libraries."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from benchmarks.bases import write_tiny
from benchmarks.figures import Check, Figure, Found, Goal, alone, ratio
from benchmarks.pairs import QSIT, command, cpus, in_turn
from benchmarks.rows import make_run

TEXT = "start of commands"
LIMIT = "limit: importing its libraries alone"
ROUNDS = 3
GOALS = {
    "--help": 0.3,
    "show RUN": 0.4,
    "fit TABLE": 1.0,
    "data levels TABLE": 1.0,
    "train plan": 3.0,
}
SHOWN = "typer, typer.rich_utils, rich.progress, pydantic, filelock"
FITTED = f"{SHOWN}, numpy, yaml, pyarrow.compute, scipy.optimize, scipy.stats"
MODEL = "torch, transformers.models.llava_onevision.modeling_llava_onevision"
LIBRARIES = {
    "--help": SHOWN,
    "show RUN": f"{SHOWN}, numpy, yaml",
    "fit TABLE": FITTED,
    "data levels TABLE": FITTED,
    "train plan": f"{SHOWN}, numpy, yaml, {MODEL}",
}
"""Those that a command can't do without."""


def run(smoke: bool, folder: Path) -> Found:
    if smoke:
        return Found(missing="no rival gives a result to compare")
    made = make_run(folder, write_tiny(folder / "base", "proxy"), 32)
    scores, levels = folder / "scores.csv", folder / "mos.csv"
    points = [(ratio, seed) for ratio in (0.25, 0.5, 1, 2, 4, 8) for seed in range(3)]
    lines = [
        f"{ratio},{seed},{0.6 - (ratio - 2) ** 2 / 100 + seed / 1000}" for ratio, seed in points
    ]
    scores.write_text("\n".join(["ratio,seed,score", *lines, ""]))
    mos = [f"{number}.jpg,{1 + number % 41 / 10}" for number in range(500)]
    levels.write_text("\n".join(["image,mos", *mos, ""]))
    asked: dict[str, list[str | Path]] = {
        "--help": ["--help"],
        "show RUN": ["show", made.path],
        "fit TABLE": ["fit", scores],
        "data levels TABLE": [
            *("data", "levels", levels, "--id", "image", "--mos", "mos"),
            *("--range", "dataset", "--out", folder / "levels.csv"),
        ],
        "train plan": ["train", "plan", "--preset", "paper"],
    }
    sides = {name: partial(command, [*QSIT, *arguments]) for name, arguments in asked.items()}
    imports = {
        name: partial(command, [sys.executable, "-c", f"import {libraries}"])
        for name, libraries in LIBRARIES.items()
    }
    in_turn(sides, 1)  # writes the files that Python compiles
    found = in_turn(sides, ROUNDS)
    limits = in_turn(imports, ROUNDS)
    figures: list[Figure] = []
    for name, runs in found.items():
        what, seconds = f"`qsit {name}`, CPU", cpus(runs)
        figures.append(alone(what, "s", seconds, Goal(GOALS[name], at_most=True)))
        figures.append(
            ratio(f"{what}: of the limit", LIMIT, "s", seconds, cpus(limits[name]), None)
        )
    return Found(
        figures,
        [
            Check(
                f"`qsit {name}` prints", bool(runs[0].result), f"{len(runs[0].result)} characters"
            )
            for name, runs in found.items()
        ],
        {"rounds": ROUNDS, "after": "one run of each", **LIBRARIES},
    )
