"""pure: what a run cost: device-seconds by stage and by search."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.mixture import AXES
from qsit_ray.search.space import read_trials

FINAL_PROXIES = "final_proxies"


def ledger(
    costs: Mapping[str, Mapping[str, float]],
    trials: Mapping[str, Iterable[Mapping[str, Any]]],
) -> dict[str, Any]:
    """The content of ledger.json.

    `costs`: wall and device seconds of each finished stage, as `RunFolder.costs` gives them.
    `trials`: rows of trials.parquet by axis. The total adds up stages alone: a search stage
    already holds the device-seconds of its trials.
    """
    return {
        "stages": {name: dict(cost) for name, cost in costs.items()},
        "trials": {name: _trials(rows) for name, rows in trials.items()},
        "device_seconds": sum(cost["device_seconds"] for cost in costs.values()),
    }


def read(run: RunFolder) -> dict[str, Any]:
    """The ledger of what the run folder holds so far; the final proxies stand beside the axes.

    Raises InputError naming a file that can't be read.
    """
    tables: dict[str, Path] = {axis: run.trials(axis) for axis in AXES}
    tables[FINAL_PROXIES] = run.path / "proxy" / "trials.parquet"
    trials = {name: read_trials(path) for name, path in tables.items() if path.exists()}
    return ledger(run.costs(), trials)


def write(run: RunFolder) -> dict[str, Any]:
    """Write ledger.json and return its content."""
    content = read(run)
    artifacts.write_json(run.ledger, content)
    return content


def _trials(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    table = list(rows)
    completed = sum(row["status"] == "completed" for row in table)
    return {
        "completed": completed,
        "failed": len(table) - completed,
        # A trial that failed may not have lived to say what it cost.
        "device_seconds": sum(row["device_seconds"] or 0.0 for row in table),
    }
