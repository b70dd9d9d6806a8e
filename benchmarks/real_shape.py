"""rim: training throughput and memory at a shape of the released models' kind: 384-pixel tiles and
a vocabulary of 152,000, nothing frozen."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bases import VOCABULARY, write_real_shape
from benchmarks.figures import Found, Goal, ratio
from benchmarks.rows import make_run
from benchmarks.throughput import THREADS, TRAINER, compared, epoch_rates, same_losses

TEXT = "training throughput, real shape (87 M weights)"


def run(smoke: bool, folder: Path) -> Found:
    rows, epochs, batch, rounds = (1, 1, 1, 1) if smoke else (2, 2, 2, 2)
    size = (384, 384) if smoke else (768, 768)
    steps = 3 * rows // batch
    made = make_run(
        folder,
        write_real_shape(folder / "base", 4096 if smoke else VOCABULARY),
        rows,
        *(f"search.max_steps={epochs * steps}", f"search.evaluate_every={steps}"),
        *("search.patience=null", "search.cpus_per_trial=2"),
        *(f"search.training.batch_size={batch}", "search.training.learning_rate=1e-4"),
        sizes=[size],
        words=40,
        frozen=False,
    )
    found = compared(made, rows, epochs, batch, rounds, [TRAINER], smoke)
    warm = epochs > 1
    rates = {side: epoch_rates(runs, rows, epochs, warm) for side, runs in found.items()}
    memory = {side: [run.result["memory"] for run in runs] for side, runs in found.items()}
    return Found(
        [
            ratio("real shape", TRAINER, "rows/s", rates["ours"], rates[TRAINER], Goal(2.5)),
            ratio(
                "real shape, memory at most",
                TRAINER,
                "GiB",
                memory["ours"],
                memory[TRAINER],
                Goal(0.6, at_most=True),
            ),
        ],
        same_losses(found, epochs),
        {
            "rows an epoch": 3 * rows,
            "epochs": epochs,
            "batch": batch,
            "rounds": rounds,
            "image": f"{size[1]} × {size[0]}",
            "torch threads": THREADS,
        },
    )
