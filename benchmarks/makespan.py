"""pure: the time of the paper's grid on 8 to 512 GPUs, simulated, beside Tune's order."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.figures import Check, Found, Goal, alone

TEXT = "makespan of the paper's grid, simulated, over the lower bound"
OURS, TUNES, ORACLE = "longest first", "grid order", "oracle"
SLOTS = (8, 16, 32, 64, 128, 256, 512)


def run(smoke: bool, folder: Path) -> Found:
    from qsit_ray.config.presets import paper
    from qsit_ray.evaluation.studies.order import SHORTEST, simulated
    from qsit_ray.mixture import AXES

    config, searches = paper(), 3 if smoke else 300
    medians: dict[int, dict[str, float]] = {}
    shortest = float("inf")
    for slots in SLOTS:
        several = [
            simulated(config, axis, ending, searches, 0, slots).over_bound
            for axis in AXES
            for ending in SHORTEST
        ]
        shortest = min(
            shortest, *(float(each.min()) for found in several for each in found.values())
        )
        medians[slots] = {
            order: max(float(np.median(found[order])) for found in several) for order in several[0]
        }
    worst = max(medians, key=lambda slots: medians[slots][OURS])
    ours, theirs, oracle = (medians[worst][order] for order in (OURS, TUNES, ORACLE))
    what = f"makespan over the lower bound, simulated; worst of 8 to 512 GPUs, at {worst}"
    return Found(
        [
            alone(f"{what}: ours", "", [ours], Goal(1.05, at_most=True)),
            alone("the same: Tune's order", "", [theirs]),
            alone("the same: longest first by durations that nobody knows before", "", [oracle]),
        ],
        [Check("no search is shorter than its bound", shortest >= 1 - 1e-9, f"{shortest:.3f}")],
        {
            "searches": searches,
            **{
                f"{slots} GPUs": ", ".join(f"{order} {value:.3f}" for order, value in of.items())
                for slots, of in medians.items()
            },
        },
    )
