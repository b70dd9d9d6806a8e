"""rim: an epoch of the primary on two ranks by Ray Train and DeepSpeed, beside transformers'
Trainer and a plain loop, both under torch's DistributedDataParallel."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.bases import write_tiny
from benchmarks.figures import Found, Goal, alone, near, ratio
from benchmarks.pairs import fresh, in_turn, timed
from benchmarks.primary_runs import RANKS, trained
from benchmarks.rows import make_run
from benchmarks.throughput import (
    FIRST_LOSS,
    TOLERANCE,
    TRAINER,
    WORKERS,
    epoch_rates,
    first_loss,
)

TEXT = "Ray Train + DeepSpeed epoch, 2 ranks"
DDP, LIMIT = f"{TRAINER}, DDP", "DDP in memory"
RATE = 1e-3


def run(smoke: bool, folder: Path) -> Found:
    rows, epochs, batch, rounds = (16, 2, 16, 1) if smoke else (192, 3, 16, 3)
    made = make_run(
        folder,
        write_tiny(folder / "base", "primary"),
        rows,
        *(f"train.workers={RANKS}", f"train.epochs={epochs}"),
        *(f"{part}.training.batch_size={batch}" for part in ("train", "search")),
        *(f"{part}.training.learning_rate={RATE}" for part in ("train", "search")),
        "search.cpus_per_trial=1",
    )
    given = {"run": str(made.path), "rows": rows, "epochs": epochs}
    loaded = {**given, "logged": 3 * rows // batch, "workers": WORKERS}
    numbers = iter(range(rounds))
    found = in_turn(
        {
            "ours": lambda: timed(lambda: trained(made, folder / f"run-{next(numbers)}", rows)),
            DDP: partial(fresh, "benchmarks.trainings:by_trainer", loaded, processes=RANKS),
            LIMIT: partial(fresh, "benchmarks.trainings:plain", given, processes=RANKS),
        },
        rounds,
    )
    later = range(1, epochs)
    results = [run.result for run in found["ours"]]
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
            alone(f"an epoch of {LIMIT}", "s", [3 * rows / rate for rate in rates[LIMIT]]),
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
