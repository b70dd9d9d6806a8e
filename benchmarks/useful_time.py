"""torch: the useful share of the GPUs' time on the paper's mix, simulated."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures import Check, Found, Goal, alone, ratio

TEXT = "useful share of GPU time on the paper's mix, simulated"
EVEN = "sorted by characters, 2 rows"


def run(smoke: bool, folder: Path) -> Found:
    from qsit_ray.evaluation.studies.useful_share import primary

    steps = 5 if smoke else 400
    found = primary(steps, seed=0)
    ours = found[next(name for name in found if name.startswith("at most"))].share
    theirs = found[EVEN].share
    return Found(
        [
            alone(TEXT, "", [ours], Goal(0.93)),
            ratio(f"{TEXT}, beside equal counts", EVEN, "", [ours], [theirs], None),
        ],
        [Check("no more work than there is", 0 < ours <= 1, f"{ours:.3f}")],
        {"steps": steps, "ranks": 8, "seed": 0},
    )
