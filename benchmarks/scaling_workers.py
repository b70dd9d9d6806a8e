"""rim: speed over the number of workers: processes of Ray Data that encode, ranks of the
primary."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bases import write_tiny
from benchmarks.figures import Curve, Found, Point, alone, near
from benchmarks.pairs import cores, fresh
from benchmarks.primary_runs import trained
from benchmarks.rows import make_run

TEXT = "growth with workers: processes that encode, ranks of the primary"
PROCESSES, RANKS, EVEN = "processes that encode (a stand-in)", "ranks of the primary", "in step"
"""The stand-in waits, so that more processes than cores can be told."""


def run(smoke: bool, folder: Path) -> Found:
    if smoke:
        return Found(missing="trainings and Ray Data's epochs, as in two_ranks and blocks")
    encoding = {count: blocks_a_second(count) for count in (1, 2, 4, 8)}
    rows, epochs = 192, 3
    made = make_run(
        folder,
        write_tiny(folder / "base", "primary"),
        rows,
        *(f"train.epochs={epochs}", "train.training.batch_size=16"),
    )
    runs = {
        count: trained(made, folder / f"ranks-{count}", rows, f"train.workers={count}")
        for count in range(1, cores() + 1)
    }
    training = {
        count: 3 * rows * (epochs - 1) / sum(map(each.seconds, range(1, epochs)))
        for count, each in runs.items()
    }
    one, most = runs[1].losses(0), runs[max(runs)].losses(0)
    lines = {name: _over_one(speeds) for name, speeds in ((PROCESSES, encoding), (RANKS, training))}
    return Found(
        [
            *(alone(f"blocks, {n} processes", "a second", [v]) for n, v in encoding.items()),
            *(alone(f"primary, {n} ranks", "rows/s", [v]) for n, v in training.items()),
        ],
        [near("losses of one rank and of several", one, most, 1e-3)],
        {"stand-in": "50 ms and 1 MB", "rows an epoch": 3 * rows, "epochs": epochs},
        curve=Curve(
            "Workers",
            "workers",
            "speed over that of one",
            {**lines, EVEN: [(float(n), float(n)) for n in encoding]},
            EVEN,
        ),
    )


def blocks_a_second(processes: int) -> float:
    """Of a later epoch, whose blocks so many processes encode."""
    asked = {"micro_batches": 1_200, "read": 40 * processes, "cpus": processes}
    _, later = fresh("benchmarks.blocks:executions", asked).result
    return float(later["rate"])


def _over_one(speeds: dict[int, float]) -> list[Point]:
    return [(float(count), speed / speeds[1]) for count, speed in speeds.items()]
