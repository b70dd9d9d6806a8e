"""pure: what a run's searches came to so far: trials by status, best ratios, cost."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.mixture import AXES
from qsit_ray.search.records import finished, folder_of
from qsit_ray.search.trials import read_trials, trial_costs


def summary(run: RunFolder, config: Config) -> dict[str, Any]:
    """What `qsit search show` prints: trials by status, best ratio and device seconds, by axis and
    in all. `best_ratio` is the fit's optimum, or before there is a fit the ratio whose finished
    trials have the best mean; null without any.

    Raises InputError naming a file that can't be read.
    """
    by_axis = {axis: _axis(run, config, axis) for axis in AXES if config.mix is None}
    statuses: Counter[str] = Counter()
    for found in by_axis.values():
        statuses.update(found["trials"])
    return {
        "trials": dict(statuses),
        "best_ratio": {axis: found["best_ratio"] for axis, found in by_axis.items()},
        "device_seconds": {
            kind: sum(found["device_seconds"][kind] for found in by_axis.values())
            for kind in ("used", "wasted")
        },
        "by_axis": by_axis,
    }


def rows(run: RunFolder, config: Config, axis: str) -> list[dict[str, Any]]:
    """The trials of an axis as in trials.parquet; while it is searched, those that have ended, and
    the rest as `waiting`."""
    if run.trials(axis).exists():
        return read_trials(run.trials(axis))
    space, done = config.space(axis), finished(folder_of(run, axis, config.search.storage))
    grid = [(ratio, seed) for ratio in space.ratios for seed in space.seeds]
    # Which ratios an adaptive search will ask for, nobody knows yet.
    points = grid if config.search.adaptive is None else list(done)
    return [
        {**done[point], "status": "completed", "reason": None}
        if point in done
        else {"ratio": point[0], "seed": point[1], "status": "waiting", "score": None}
        for point in points
    ]


def _axis(run: RunFolder, config: Config, axis: str) -> dict[str, Any]:
    table = rows(run, config, axis)
    account = trial_costs(folder_of(run, axis, config.search.storage), table)
    return {
        "trials": dict(Counter(row["status"] for row in table)),
        "best_ratio": _best(run, axis, table),
        "verdict": artifacts.read_json(run.fit(axis))["verdict"]
        if run.fit(axis).exists()
        else None,
        "device_seconds": {kind: account[kind] for kind in ("used", "wasted")},
        "failures": [
            {"ratio": row["ratio"], "seed": row["seed"], "reason": row["reason"]}
            for row in table
            if row["status"] == "failed"
        ],
    }


def _best(run: RunFolder, axis: str, table: list[dict[str, Any]]) -> float | None:
    if run.fit(axis).exists():
        return artifacts.read_json(run.fit(axis))["optimum"]
    scores: dict[float, list[float]] = {}
    for row in table:
        if row["score"] is not None:
            scores.setdefault(row["ratio"], []).append(row["score"])
    return max(scores, key=lambda ratio: np.mean(scores[ratio])) if scores else None
