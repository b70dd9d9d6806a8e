"""rim: CPU seconds of commands that only answer."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.bases import write_tiny
from benchmarks.figures import Check, Found, Goal, alone
from benchmarks.pairs import QSIT, command, cpus, in_turn
from benchmarks.rows import make_run

TEXT = "start of commands"
ROUNDS = 3
GOALS = {
    "--help": 0.3,
    "show RUN": 0.4,
    "fit TABLE": 1.0,
    "data levels TABLE": 1.0,
    "train plan": 3.0,
}


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
    in_turn(sides, 1)  # writes the files that Python compiles
    found = in_turn(sides, ROUNDS)
    return Found(
        [
            alone(f"`qsit {name}`, CPU", "s", cpus(runs), Goal(GOALS[name], at_most=True))
            for name, runs in found.items()
        ],
        [
            Check(
                f"`qsit {name}` prints", bool(runs[0].result), f"{len(runs[0].result)} characters"
            )
            for name, runs in found.items()
        ],
        {"rounds": ROUNDS, "after": "one run of each"},
    )
