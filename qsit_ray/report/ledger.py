"""pure: what a run cost: device-seconds by stage, search and trial, used and wasted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.mixture import AXES
from qsit_ray.search.estimate import PAPER_HOURS
from qsit_ray.search.records import FINAL_PROXIES, folder_of
from qsit_ray.search.trials import read_trials, trial_costs


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
        name: trial_costs(folder_of(run, name, storage), read_trials(table))
        for name, table in tables.items()
        if table.exists()
    }
    return ledger(run.costs(), searches)


def write(run: RunFolder, storage: str | None = None) -> dict[str, Any]:
    """Write ledger.json and return its content; arguments as `read`."""
    content = read(run, storage)
    artifacts.write_json(run.ledger, content)
    return content
