"""rim: an epoch of the primary on two ranks by Ray Train and DeepSpeed, beside transformers'
Trainer and a plain loop, both under torch's DistributedDataParallel.

The rivals give each rank eight rows a step. Ours divides a global batch by its tokens, so that a
rank may have more of the shorter ones.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.bases import write_tiny
from benchmarks.figures import Found, Goal, alone, near, ratio
from benchmarks.pairs import fresh, in_turn, timed
from benchmarks.primary_runs import RANKS, Trained, trained
from benchmarks.rows import make_run
from benchmarks.throughput import (
    FIRST_LOSS,
    TOLERANCE,
    TRAINER,
    WORKERS,
    epoch_rates,
    first_loss,
)
from qsit_ray.artifacts import RunFolder
from qsit_ray.evaluation.studies.processes import KINDS, OTHER, sampled

TEXT = "Ray Train + DeepSpeed epoch, 2 ranks"
DDP, LIMIT = f"{TRAINER}, DDP", "DDP in memory"
RATE = 1e-3


def run(smoke: bool, folder: Path) -> Found:
    rows, epochs, batch, rounds = (16, 2, 16, 1) if smoke else (192, 3, 16, 3)
    made = make_run(
        folder,
        write_tiny(folder / "base", "primary"),
        rows,
        *(f"train.workers={RANKS}", f"train.epochs={epochs}", f"train.micro_batch={batch}"),
        *(f"{part}.training.batch_size={batch}" for part in ("train", "search")),
        *(f"{part}.training.learning_rate={RATE}" for part in ("train", "search")),
        "search.cpus_per_trial=1",
    )
    given = {"run": str(made.path), "rows": rows, "epochs": epochs}
    loaded = {**given, "logged": 3 * rows // batch, "workers": WORKERS}
    numbers, later = iter(range(rounds)), range(1, epochs)
    found = in_turn(
        {
            "ours": lambda: timed(
                lambda: _ours(made, folder / f"run-{next(numbers)}", rows, later)
            ),
            DDP: partial(fresh, "benchmarks.trainings:by_trainer", loaded, processes=RANKS),
            LIMIT: partial(fresh, "benchmarks.trainings:plain", given, processes=RANKS),
        },
        rounds,
    )
    results = [run.result[0] for run in found["ours"]]
    used = [run.result[1] for run in found["ours"]]
    kinds = {kind: [each.get(kind, 0.0) for each in used] for kind in [*KINDS.values(), OTHER]}
    in_memory = [np.array_split(run.result["cpu"], epochs)[1:] for run in found[LIMIT]]
    ours = [3 * rows * len(later) / sum(map(each.seconds, later)) for each in results]
    waits = [sum(map(each.waits, later)) / len(later) for each in results]
    rates = {name: epoch_rates(found[name], rows, epochs, True) for name in (DDP, LIMIT)}
    loss = float(np.mean(results[0].losses(0)))
    return Found(
        [
            *(
                ratio(TEXT, name, "rows/s", ours, rates[name], goal)
                for name, goal in ((DDP, Goal(1.3)), (LIMIT, Goal(0.95)))
            ),
            alone("an epoch of ours", "s", [3 * rows / rate for rate in ours]),
            alone("of it the wait for rows", "s", waits),
            *(
                alone(f"CPU of an epoch of ours: {kind}", "s", seconds)
                for kind, seconds in kinds.items()
            ),
            alone(f"an epoch of {LIMIT}", "s", [3 * rows / rate for rate in rates[LIMIT]]),
            alone(
                f"CPU of an epoch of {LIMIT}: ranks",
                "s",
                [RANKS * float(np.sum(each)) / len(later) for each in in_memory],
            ),
        ],
        [
            near(f"{name}: {FIRST_LOSS}", [loss], [first_loss(found[name][0], epochs)], TOLERANCE)
            for name in (DDP, LIMIT)
        ],
        {
            "rows an epoch": 3 * rows,
            "epochs": epochs,
            "counted": "those after the first",
            "batch": batch,
            "rounds": rounds,
            "torch threads of a rank": 1,
            "Trainer's loader processes of a rank": WORKERS,
        },
    )


def _ours(made: RunFolder, to: Path, rows: int, epochs: range) -> tuple[Trained, dict[str, float]]:
    """A training, and the CPU seconds of its mean epoch by kind of process, from those between the
    first and the last step."""
    with sampled() as samples:
        run = trained(made, to, rows)
    found: dict[str, float] = defaultdict(float)
    for start, end in run.spans(epochs):
        for kind, seconds in samples.between(start, end).items():
            found[kind] += seconds
    steps = sum(step.epoch in epochs for step in run.steps)
    share = len(epochs) * (steps - len(epochs)) / steps
    return run, {kind: seconds / share for kind, seconds in found.items()}
