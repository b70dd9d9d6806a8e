"""rim: what checkpoints inside an epoch cost, and the change from an epoch to the next."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.bases import write_tiny
from benchmarks.figures import Found, Goal, alone, faster, near
from benchmarks.pairs import in_turn, timed
from benchmarks.primary_runs import RANKS, Trained, trained
from benchmarks.rows import make_run
from qsit_ray.config.train import Train

TEXT = "checkpoints: steps with and without them, change of epoch"
WITHOUT = "no checkpoint inside an epoch"
EVERY = 12


def run(smoke: bool, folder: Path) -> Found:
    if smoke:
        return Found(missing="two trainings of the primary, as in two_ranks")
    rows, epochs, batch, rounds = 256, 3, 16, 4
    made = make_run(
        folder,
        write_tiny(folder / "base", "primary"),
        rows,
        *(f"train.workers={RANKS}", f"train.epochs={epochs}"),
        *(f"train.training.batch_size={batch}", "train.checkpoint_minutes=null"),
    )
    numbers = iter(range(2 * rounds))

    def side(*settings: str) -> Trained:
        return trained(made, folder / f"run-{next(numbers)}", rows, *settings)

    every = partial(side, f"train.checkpoint_steps={EVERY}")
    found = in_turn({"ours": lambda: timed(every), WITHOUT: lambda: timed(side)}, rounds)
    runs = {name: [run.result for run in each] for name, each in found.items()}
    spans = {
        name: [sum(map(each.span, range(1, epochs))) for each in several]
        for name, several in runs.items()
    }
    written = (epochs - 1) * ((3 * rows // batch - 1) // EVERY)
    cost = [(a - b) / written for a, b in zip(spans["ours"], spans[WITHOUT], strict=True)]
    minutes = Train.model_fields["checkpoint_minutes"].default
    changes = [each.change(epoch) for each in runs[WITHOUT] for epoch in range(epochs - 1)]
    losses = {name: [step.loss for step in several[0].steps] for name, several in runs.items()}
    return Found(
        [
            faster(
                f"steps with a checkpoint after each {EVERY}",
                WITHOUT,
                spans["ours"],
                spans[WITHOUT],
                Goal(0.95),
            ),
            alone("a checkpoint inside an epoch", "s", cost),
            alone(
                f"the same, of the {minutes:g} minutes to the next by default",
                "",
                [seconds / (60 * minutes) for seconds in cost],
                Goal(0.05, at_most=True),
            ),
            alone(
                "change of epoch, with the wait for its rows and without validation",
                "s",
                changes,
                Goal(1, at_most=True),
            ),
        ],
        [near("losses with and without", losses["ours"], losses[WITHOUT], 0.0)],
        {
            "rows an epoch": 3 * rows,
            "epochs": epochs,
            "batch": batch,
            "ranks": RANKS,
            "rounds": rounds,
            "change of epoch": "to its tenth step, without those steps' own time and validation",
        },
    )
