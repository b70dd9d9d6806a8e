"""pure: the time of the paper's grid on 8 to 512 GPUs, simulated, beside Tune's order."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.figures import Check, Found, Goal, alone

TEXT = "makespan of the paper's grid, simulated, over the lower bound"
SLOTS = (8, 16, 32, 64, 128, 256, 512)


def run(smoke: bool, folder: Path) -> Found:
    from evaluation.studies.order import SHORTEST, simulated
    from qsit_ray.config.presets import paper
    from qsit_ray.mixture import AXES

    config, searches = paper(), 3 if smoke else 300
    worst = {"longest first": (0.0, 0), "grid order": (0.0, 0)}
    shortest = float("inf")
    for slots in SLOTS:
        for axis in AXES:
            for ending in SHORTEST:
                found = simulated(config, axis, ending, searches, 0, slots).over_bound
                shortest = min(shortest, *(float(each.min()) for each in found.values()))
                for order, now in worst.items():
                    worst[order] = max(now, (float(np.median(found[order])), slots))
    ours, theirs = worst["longest first"], worst["grid order"]
    what = f"{TEXT}; the worst median, 8 to 512 GPUs"
    return Found(
        [
            alone(f"{what}: ours", "", [ours[0]], Goal(1.05, at_most=True)),
            alone(f"{what}: Tune's order", "", [theirs[0]]),
        ],
        [Check("no search is shorter than its bound", shortest >= 1 - 1e-9, f"{shortest:.3f}")],
        {
            "searches": searches,
            "GPUs": ", ".join(map(str, SLOTS)),
            "worst at, ours": ours[1],
            "worst at, Tune's": theirs[1],
        },
    )
