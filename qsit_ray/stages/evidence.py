"""pure: what a run knows of an axis beside its trials' scores: their losses, its scouts, and
earlier runs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.errors import InputError
from qsit_ray.losses import LOSS, ratio
from qsit_ray.search.trials import TrialOutcome, read_trials
from qsit_ray.surrogate.comparison import Curve
from qsit_ray.surrogate.evidence import LEAST, Evidence
from qsit_ray.surrogate.gaussian_process import mean_curve
from qsit_ray.surrogate.observations import observed

POINTS = 33


def scouts_file(run: RunFolder, axis: str) -> Path:
    return run.search(axis) / "scouts.parquet"


def keep_earlier(run: RunFolder, config: Config) -> None:
    """Copy the tables of earlier runs into the run, once: what becomes of those runs later changes
    nothing here. Raises InputError for an earlier run without trials of any axis."""
    for text in config.search.earlier:
        earlier = RunFolder(Path(text))
        if earlier.path.resolve() == run.path.resolve():
            raise InputError(f"search.earlier: {text} is this run itself")
        axes = [axis.name for axis in config.axes]
        there = [axis for axis in axes if earlier.trials(axis).exists()]
        if not there and not any(_copy(run, text, axis).exists() for axis in axes):
            raise InputError(f"search.earlier: {text} has no trials; `qsit search run` makes them")
        for axis in there:
            copy = _copy(run, text, axis)
            if not copy.exists():
                read_trials(earlier.trials(axis))  # raises for a table that can't be read
                with artifacts.atomic(copy) as temporary:
                    shutil.copyfile(earlier.trials(axis), temporary)


def earlier_files(run: RunFolder, config: Config, axis: str) -> dict[str, Path]:
    """The copies of earlier runs' tables of an axis, by the runs' folders."""
    copies = {text: _copy(run, text, axis) for text in config.search.earlier}
    return {text: path for text, path in copies.items() if path.exists()}


def files(run: RunFolder, config: Config, axis: str) -> dict[str, Path]:
    """The tables of trials that are evidence and there already, by name."""
    scouts = scouts_file(run, axis)
    found = {"scouts": scouts} if config.search.scouts is not None and scouts.exists() else {}
    return {**found, **earlier_files(run, config, axis)}


def digests(run: RunFolder, config: Config, axis: str) -> dict[str, str]:
    """Of these tables, by name."""
    found = files(run, config, axis)
    return {name: artifacts.file_sha256(path) for name, path in found.items()}


def _copy(run: RunFolder, text: str, axis: str) -> Path:
    # Not in the axis's folder, which is removed where it holds no finished trials of these inputs.
    name = f"{axis}_{artifacts.digest(text)[:12]}.parquet"
    return run.path / "search" / "earlier" / name


def of_others(run: RunFolder, config: Config, axis: str) -> list[Evidence]:
    """The losses of scouts, and of earlier runs the scores too; only what is enough for a curve."""
    losses = loss_columns(config, axis)
    found = []
    for name, path in files(run, config, axis).items():
        columns = losses if name == "scouts" else ("score", *losses)
        # Scouts share seed and rows with full trials of their ratio: both are left out together.
        found += _evidence(name, read_trials(path), columns, same_trials=name == "scouts")
    return found


def of_losses(rows: Sequence[TrialOutcome], config: Config, axis: str) -> list[Evidence]:
    """The losses of the trials themselves; none where they are the score."""
    objective = config.space(axis).objective
    if objective == "losses" or objective.startswith(LOSS):
        return []
    return _evidence("losses", rows, loss_columns(config, axis), same_trials=True)


def loss_columns(config: Config, axis: str) -> tuple[str, ...]:
    """The losses that the score of an axis may follow."""
    objective = config.space(axis).objective
    if objective in ("both", "losses"):
        return tuple(LOSS + task for task in config.tasks)
    return (LOSS + objective.removeprefix(LOSS),)


def loss_curves(rows: Sequence[TrialOutcome]) -> dict[str, Curve]:
    """The losses of the trials over the ratio, and their quotient: smoothed in their logarithms."""
    done = [row for row in rows if row.losses and all(row.losses.values())]
    ratios = np.array([row.ratio for row in done])
    if np.unique(ratios).size < LEAST:
        return {}
    known = [row.losses for row in done if row.losses]
    logs = {LOSS + task: np.log([each[task] for each in known]) for task in known[0]}
    logs["loss_ratio"] = np.log([ratio(each) for each in known])
    low, high = float(ratios.min()), float(ratios.max())
    grid = np.clip(np.geomspace(low, high, POINTS), low, high)
    found = {}
    for name, values in logs.items():
        smooth = np.exp(mean_curve(ratios, values, low, high)(grid))
        found[name] = tuple(zip(grid.tolist(), smooth.tolist(), strict=True))
    return found


def _evidence(
    name: str, rows: Sequence[TrialOutcome], columns: Sequence[str], same_trials: bool
) -> list[Evidence]:
    found = []
    for column in columns:
        values = [_value(row, column) for row in rows]
        if not any(value is not None for value in values):
            continue
        seen = observed([row.ratio for row in rows], values)
        found.append(Evidence(f"{column} of {name}", seen, same_trials))
    return [each for each in found if each.is_enough]


def _value(row: TrialOutcome, column: str) -> float | None:
    value = row.value(column)
    if value is None or column == "score":
        return value
    return float(np.log(value)) if value > 0 else None
