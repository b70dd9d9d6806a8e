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
"""Nats that losses of two trainings may be apart after some steps in float32."""
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
    """The mean loss of each epoch of our side beside each rival's."""
    by_epoch = {name: _by_epoch(runs[0].result, epochs) for name, runs in found.items()}
    ours = by_epoch.pop("ours")
    return [
        near(f"{name}: mean loss of each epoch", ours, theirs, TOLERANCE)
        for name, theirs in by_epoch.items()
    ]


def _by_epoch(outcome: dict[str, Any], epochs: int) -> list[float]:
    parts = np.array_split(np.array(outcome["losses"]), epochs)
    return [float(part.mean()) for part in parts]


def tiny(role: str, goals: dict[str, Goal], smoke: bool, folder: Any) -> Found:
    """The demo's `proxy` or `primary`, frozen tower, features remembered."""
    from benchmarks.bases import write_tiny
    from benchmarks.rows import make_run

    rows, epochs, batch, rounds = (16, 2, 16, 1) if smoke else (192, 3, 16, 3)
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
