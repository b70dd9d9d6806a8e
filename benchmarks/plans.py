"""pure: an epoch's plan of up to ten million rows, beside pandas' sample and concat."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.figures import Check, Figure, Found, Goal, alone, faster, ratio
from benchmarks.pairs import fresh, in_turn

TEXT = "plan of an epoch"
PANDAS = "pandas, sample and concat"
SHUFFLES = "limit: NumPy's shuffles of the same numbers alone"
BYTES = Goal(16, at_most=True)


def run(smoke: bool, folder: Path) -> Found:
    counts, rounds = ((3_000,), 1) if smoke else ((10**5, 10**6, 10**7), 3)
    figures: list[Figure] = []
    checks: list[Check] = []
    for rows in counts:
        found = in_turn(
            {
                name: partial(fresh, f"benchmarks.plans:{name}", {"rows": rows}, inside=smoke)
                for name in ("ours", "by_pandas", "shuffles")
            },
            rounds,
        )
        seconds = {name: [run.result["cpu"] for run in runs] for name, runs in found.items()}
        what = f"{TEXT}, {rows:,} rows"
        theirs = seconds["by_pandas"]
        figures.append(faster(f"{what}, CPU", PANDAS, seconds["ours"], theirs, Goal(3.0)))
        figures.append(
            ratio(
                f"{what}: of the limit", SHUFFLES, "s", seconds["ours"], seconds["shuffles"], None
            )
        )
        results = {name: runs[0].result for name, runs in found.items()}
        for key, name, goal in (
            ("kept", "bytes a row kept", None),
            ("peak", "bytes a row at peak", BYTES),
        ):
            figures.append(alone(f"{what}: {name}", "B", [results["ours"][key]], goal))
        same = results["ours"]["rows"] == results["by_pandas"]["rows"]
        checks.append(
            Check(f"{rows:,} rows: rows of each domain", same, str(results["ours"]["rows"]))
        )
    return Found(
        figures, checks, {"mix": "1 : 2.5 : 1.04 of pools twice as large", "rounds": rounds}
    )


def sizes_of(rows: int) -> tuple[dict[str, int], dict[str, int]]:
    """Rows that a plan of `rows` takes of each domain, and the domain's own."""
    from qsit_ray.config.presets import FOUND

    ratios = FOUND
    taken = {name: int(rows * ratio / sum(ratios.values())) for name, ratio in ratios.items()}
    taken["interpreting"] += rows - sum(taken.values())
    return taken, {name: 2 * count for name, count in taken.items()}


def ours(rows: int) -> dict[str, Any]:
    import numpy as np

    from qsit_ray.mixture import Mixture, plan_epoch

    taken, sizes = sizes_of(rows)
    plan_epoch(Mixture.of(3, 3, 3), dict.fromkeys(sizes, 3), 0, 0, 3)
    found = _measured(lambda: plan_epoch(Mixture(taken), sizes, 0, 0, 64).rows)
    planned = found.pop("result")
    ends = np.cumsum([*sizes.values()])
    held = np.bincount(np.searchsorted(ends, planned, side="right"), minlength=3)
    distinct = len(np.unique(planned))
    return {**found, "kept": planned.nbytes / rows, "rows": [*held.tolist(), distinct]}


def by_pandas(rows: int) -> dict[str, Any]:
    import numpy as np
    import pandas as pd

    taken, sizes = sizes_of(rows)
    ends = np.cumsum([0, *sizes.values()])
    pools = [pd.DataFrame({"row": np.arange(ends[i], ends[i + 1])}) for i in range(len(sizes))]

    def plan() -> Any:
        parts = [
            pool.sample(n=count, random_state=0)
            for pool, count in zip(pools, taken.values(), strict=True)
        ]
        return pd.concat(parts).sample(frac=1, random_state=0)

    pools[0].sample(n=1, random_state=0)
    found = _measured(plan)
    planned = found.pop("result")
    held = np.bincount(np.searchsorted(ends[1:], planned["row"], side="right"), minlength=3)
    kept = float(planned.memory_usage(index=True).sum()) / rows
    return {**found, "kept": kept, "rows": [*held.tolist(), int(planned["row"].nunique())]}


def shuffles(rows: int) -> dict[str, Any]:
    """CPU seconds of shuffling the pools and the order: what any such plan has to do."""
    import numpy as np

    taken, sizes = sizes_of(rows)

    def shuffled() -> None:
        for count in (*sizes.values(), sum(taken.values())):
            np.random.Generator(np.random.Philox(0)).permutation(count)

    cpu = time.process_time()
    shuffled()
    return {"cpu": time.process_time() - cpu}


def _measured(plan: Any) -> dict[str, Any]:
    """CPU seconds of a plan, and its bytes at most for each of its rows, in a call of its own."""
    import tracemalloc

    cpu = time.process_time()
    result = plan()
    cpu = time.process_time() - cpu
    rows = len(result)
    del result
    tracemalloc.start()
    result = plan()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"cpu": cpu, "peak": peak / rows, "result": result}
