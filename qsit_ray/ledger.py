"""pure: what a run cost: device-seconds by stage, search and trial, used and wasted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.mixture import AXES
from qsit_ray.search.records import FINAL_PROXIES, folder_of, point_name, wasted_seconds
from qsit_ray.search.space import read_trials

# A800 GPU-hours of Algorithm 1 as the paper gives them: all proxies, the primary's run, and the
# same search done with the primary.
PAPER_HOURS = {"search": 720.0, "primary": 72.0, "search_with_primary": 2800.0}


def ledger(
    costs: Mapping[str, Mapping[str, float]], searches: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The content of ledger.json.

    `costs`: wall and device seconds of each finished stage, as `RunFolder.costs` gives them.
    `searches`: what `trials` gives, by axis. The total adds up stages alone: a search stage
    already holds the device-seconds that its trials used. What attempts that died had used since
    their last checkpoint is `wasted`, and in no stage.
    """
    hours = {
        "search": sum(found["device_seconds"] for found in searches.values()) / 3600,
        "primary": costs.get("train", {}).get("device_seconds", 0.0) / 3600,
    }
    return {
        "stages": {name: dict(cost) for name, cost in costs.items()},
        "trials": {name: dict(found) for name, found in searches.items()},
        "device_seconds": sum(cost["device_seconds"] for cost in costs.values()),
        "wasted_seconds": sum(found["wasted"] for found in searches.values()),
        "device_hours": hours,
        "paper_gpu_hours": PAPER_HOURS,
    }


def read(run: RunFolder, storage: str | None = None) -> dict[str, Any]:
    """The ledger of what the run folder holds so far; the final proxies stand beside the axes.

    `storage` is the run's `search.storage`. Raises InputError naming a file that can't be read.
    """
    tables: dict[str, Path] = {axis: run.trials(axis) for axis in AXES}
    tables[FINAL_PROXIES] = run.path / "proxy" / "trials.parquet"
    searches = {
        name: trials(folder_of(run, name, storage), read_trials(table))
        for name, table in tables.items()
        if table.exists()
    }
    return ledger(run.costs(), searches)


def write(run: RunFolder, storage: str | None = None) -> dict[str, Any]:
    """Write ledger.json and return its content; arguments as `read`."""
    content = read(run, storage)
    artifacts.write_json(run.ledger, content)
    return content


def trials(folder: Path, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What the trials of the search in `folder` cost; `rows` are those of trials.parquet.

    `used`: device seconds of trials that completed. `wasted`: of attempts that failed or were
    killed, since their last checkpoint.
    """
    table = list(rows)
    # A last attempt without a word is lost where its trial failed. Else it may run now, or was
    # killed after it had left its outcome.
    unsaid = {point_name(r["ratio"], r["seed"]) for r in table if r["status"] != "failed"}
    lost = wasted_seconds(folder, unsaid)
    by_trial = [
        {
            "ratio": row["ratio"],
            "seed": row["seed"],
            "status": row["status"],
            "used": row.get("device_seconds") or 0.0,
            "wasted": lost.get(point_name(row["ratio"], row["seed"]), 0.0),
        }
        for row in table
    ]
    used = sum(trial["used"] for trial in by_trial)
    return {
        "completed": sum(trial["status"] == "completed" for trial in by_trial),
        "failed": sum(trial["status"] == "failed" for trial in by_trial),
        "device_seconds": used,
        "used": used,
        "wasted": sum(trial["wasted"] for trial in by_trial),
        "by_trial": by_trial,
    }
