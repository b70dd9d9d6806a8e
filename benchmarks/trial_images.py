"""rim: a trial with real image sizes whose GPU step is a stand-in, beside encoding between the
steps."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.bases import write_real_shape
from benchmarks.figures import Check, Found, Goal, faster
from benchmarks.pairs import fresh
from benchmarks.rows import make_run

TEXT = "trial with real images, GPU step replaced by a stand-in"
RIVAL = "ours, encoding between steps"
SIZES = ((768, 1024), (3000, 4000), (480, 640))
"""(height, width) of KonIQ's, SPAQ's and COCO's images."""
SECONDS_A_ROW = 0.1
"""Of the stand-in, an assumption."""
CPUS = {RIVAL: 1, "ours": 4}


def run(smoke: bool, folder: Path) -> Found:
    batch, steps, rounds = (3, 2, 1) if smoke else (12, 6, 3)
    sizes = [(384, 384)] if smoke else SIZES
    made = make_run(
        folder,
        write_real_shape(folder / "base", 4096),
        batch * steps // 3,
        f"search.training.batch_size={batch}",
        sizes=sizes,
        frozen=False,
    )
    given = {"run": str(made.path), "rows": batch * steps // 3, "rounds": rounds}
    found = fresh("benchmarks.trial_images:ways", given, inside=smoke).result
    same = found["same"]
    return Found(
        [faster(TEXT, RIVAL, found["ours"], found[RIVAL], Goal(2.4))],
        [Check("tokens and tiles of all batches", same, "equal" if same else "other")],
        {
            "rows a step": batch,
            "steps": steps,
            "rounds": rounds,
            "stand-in, s a row": SECONDS_A_ROW,
            "CPUs of a trial, ours": CPUS["ours"],
            "images": ", ".join(f"{width} × {height}" for height, width in sizes),
        },
    )


def ways(run: str, rows: int, rounds: int) -> dict[str, Any]:
    """Seconds of a pass over all steps, with each number of CPUs in turn."""
    import numpy as np

    from benchmarks.pairs import in_turn, timed, walls
    from qsit_ray.artifacts import RunFolder
    from qsit_ray.data.catalog import open_catalog
    from qsit_ray.mixture import Mixture, plan_epoch
    from qsit_ray.run_config import opened
    from qsit_ray.search.training import Bench
    from qsit_ray.search.trials import Task

    folder = RunFolder(Path(run))
    config = opened(folder)
    batch = config.search.training.batch_size
    plan = plan_epoch(Mixture.of(rows, rows, rows), open_catalog(folder.catalog).sizes, 0, 0, batch)
    steps = [plan.step_rows(step) for step in range(plan.steps)]

    def bench(cpus: int) -> Bench:
        search = config.search.model_copy(update={"cpus_per_trial": float(cpus)})
        changed = config.model_copy(update={"search": search})
        return Bench(
            Task(folder, changed, folder.path, lambda _: Mixture.of(1, 1, 1), "interpreting")
        )

    benches = {name: bench(cpus) for name, cpus in CPUS.items()}

    def trained(name: str) -> list[int]:
        seen = []
        for parts in benches[name].encoded(steps):
            time.sleep(SECONDS_A_ROW * sum(len(rows) for rows, _ in parts))
            seen += [int(np.sum(encoded[key])) for _, encoded in parts for key in sorted(encoded)]
        return seen

    for name in benches:  # the first of all reads the sizes of the images
        trained(name)
    found = in_turn({name: _side(trained, name, timed) for name in CPUS}, rounds)
    results = [runs[0].result for runs in found.values()]
    return {**{name: walls(runs) for name, runs in found.items()}, "same": results[0] == results[1]}


def _side(trained: Any, name: str, timed: Any) -> Any:
    return lambda: timed(lambda: trained(name))
