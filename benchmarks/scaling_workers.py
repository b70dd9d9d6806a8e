"""rim: speed over the number of workers: processes of Ray Data that encode, ranks of the
primary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.bases import write_tiny
from benchmarks.figures import Curve, Found, Point, alone, near
from benchmarks.pairs import cores, fresh
from benchmarks.primary_runs import trained
from benchmarks.rows import make_run

TEXT = "growth with workers: processes that encode, ranks of the primary"
PROCESSES, RANKS, EVEN = "processes that encode (a stand-in)", "ranks of the primary", "in step"
"""The stand-in waits, so that more processes than cores make a difference."""


def run(smoke: bool, folder: Path) -> Found:
    if smoke:
        return Found(missing="trainings and Ray Data's epochs, as in two_ranks and blocks")
    later = {count: epoch(count) for count in (1, 2, 4, 8)}
    encoding = {count: float(each["rate"]) for count, each in later.items()}
    cpu = {count: 1000 * sum(each["cpu"].values()) for count, each in later.items()}
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
            *(alone(f"blocks, processes: {n}", "a second", [v]) for n, v in encoding.items()),
            *(alone(f"CPU of a block, processes: {n}", "ms", [v]) for n, v in cpu.items()),
            *(alone(f"primary, ranks: {n}", "rows/s", [v]) for n, v in training.items()),
        ],
        [near("losses of one rank and of several", one, most, 1e-3)],
        {"rounds": 1, "stand-in": "50 ms and 1 MB", "rows an epoch": 3 * rows, "epochs": epochs},
        curve=Curve(
            "Workers",
            "workers",
            "speed over that of one",
            {**lines, EVEN: [(float(n), float(n)) for n in encoding]},
            EVEN,
        ),
    )


def epoch(processes: int) -> dict[str, Any]:
    """A later epoch of Ray Data, whose blocks so many processes encode."""
    asked = {"micro_batches": 1_200, "read": 320, "cpus": processes}
    _, later = fresh("benchmarks.blocks:executions", asked).result
    found: dict[str, Any] = later
    return found


def _over_one(speeds: dict[int, float]) -> list[Point]:
    return [(float(count), speed / speeds[1]) for count, speed in speeds.items()]
