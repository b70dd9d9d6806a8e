"""rim: rows a second of a training in one process, beside its rivals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.figures import Check, Figure, Found, Goal, near, ratio
from benchmarks.pairs import Run, Side, fresh, in_turn
from qsit_ray.artifacts import RunFolder

TRAINER, LIMIT = "HF Trainer", "plain loop in memory"
TOLERANCE = 2e-3
"""Nats that the mean losses of two trainings' first epochs may be apart in float32; each step makes
the difference larger."""
FIRST_LOSS = "mean loss of the first epoch"
THREADS, WORKERS = 1, 1
"""Threads of torch on each side, and processes of Trainer's data loader; a trial has two CPUs, of
which the second encodes."""


def compared(
    run: RunFolder,
    rows: int,
    epochs: int,
    batch: int,
    rounds: int,
    rivals: Sequence[str],
    smoke: bool,
) -> dict[str, list[Run]]:
    """`ours` and the rivals in turn, each in a fresh process unless `smoke`."""
    given = {"run": str(run.path), "rows": rows, "epochs": epochs}
    loaded = {**given, "logged": 3 * rows // batch, "workers": WORKERS}
    functions = {TRAINER: ("by_trainer", loaded), LIMIT: ("plain", given)}
    asked = {"ours": ("ours", given), **{name: functions[name] for name in rivals}}
    sides: dict[str, Side] = {
        name: partial(fresh, f"benchmarks.trainings:{function}", arguments, THREADS, inside=smoke)
        for name, (function, arguments) in asked.items()
    }
    return in_turn(sides, rounds)


def epoch_rates(runs: Sequence[Run], rows: int, epochs: int, warm: bool) -> list[float]:
    """Rows a second of the first epoch with what comes before it, or of those after it."""
    found = []
    for run in runs:
        seconds, steps = run.result["seconds"], len(run.result["seconds"]) // epochs
        if warm:
            found.append(3 * rows * (epochs - 1) / sum(seconds[steps:]))
        else:
            found.append(3 * rows / (run.result["start"] + sum(seconds[:steps])))
    return found


def same_losses(found: dict[str, list[Run]], epochs: int) -> list[Check]:
    """The mean loss of our side's first epoch beside each rival's."""
    first = {name: first_loss(runs[0], epochs) for name, runs in found.items()}
    ours = first.pop("ours")
    return [
        near(f"{name}: {FIRST_LOSS}", [ours], [theirs], TOLERANCE) for name, theirs in first.items()
    ]


def first_loss(run: Run, epochs: int) -> float:
    """The mean loss of the first epoch of a run's `losses`."""
    return float(np.array_split(np.array(run.result["losses"]), epochs)[0].mean())


def tiny(role: str, rows: int, goals: dict[str, Goal], smoke: bool, folder: Any) -> Found:
    """The demo's `proxy` or `primary` on `rows` rows a domain, frozen tower, features
    remembered."""
    from benchmarks.bases import write_tiny
    from benchmarks.rows import make_run

    rows, epochs, batch, rounds = (16, 2, 16, 1) if smoke else (rows, 3, 16, 3)
    steps = 3 * rows // batch
    run = make_run(
        folder,
        write_tiny(folder / "base", role),
        rows,
        *(f"search.max_steps={epochs * steps}", f"search.evaluate_every={steps}"),
        *("search.patience=null", "search.cpus_per_trial=2"),
        f"search.training.batch_size={batch}",
    )
    found = compared(run, rows, epochs, batch, rounds, [TRAINER, LIMIT], smoke)
    figures: list[Figure] = []
    for warm, name in ((True, "warm"), (False, "cold")):
        rates = {side: epoch_rates(runs, rows, epochs, warm) for side, runs in found.items()}
        rival = rates[TRAINER]
        what = f"tiny {role}, {name}"
        figures.append(ratio(what, TRAINER, "rows/s", rates["ours"], rival, goals[name]))
        if warm:
            limit = rates[LIMIT]
            figures.append(ratio(what, LIMIT, "rows/s", rates["ours"], limit, goals["limit"]))
    return Found(
        figures,
        same_losses(found, epochs),
        {
            "rows an epoch": 3 * rows,
            "epochs": epochs,
            "batch": batch,
            "rounds": rounds,
            "torch threads": THREADS,
            "Trainer's loader processes": WORKERS,
            "threads that encode, ours": 1,
            "cold": "the first epoch, with the start of its data",
        },
    )
