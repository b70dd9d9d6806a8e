"""pure: the fit stage: from the tables of a run's trials to the optima."""

from __future__ import annotations

from typing import Any

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.errors import InputError
from qsit_ray.mixture import AXES, Axis
from qsit_ray.search.trials import read_trials
from qsit_ray.surrogate.comparison import compare
from qsit_ray.surrogate.observations import observed


def fit_run(run: RunFolder, config: Config) -> dict[str, dict[str, Any]]:
    """Fit every axis that has trials; write its fit.json. Returns the fits by axis.

    Raises InputError when no axis has trials yet.
    """
    fits: dict[str, dict[str, Any]] = {}
    for axis in axes_with_trials(run):
        settings = settings_of(config, axis)
        inputs = {"trials": artifacts.file_sha256(run.trials(axis)), **settings}
        if not run.is_complete(f"fit {axis}", inputs):
            with run.stage(f"fit {axis}", inputs):
                artifacts.write_json(run.fit(axis), _fit(run, axis, settings))
        fits[axis] = artifacts.read_json(run.fit(axis))
    return fits


def axes_with_trials(run: RunFolder) -> list[Axis]:
    """Raises InputError when there is none yet."""
    found = [axis for axis in AXES if run.trials(axis).exists()]
    if not found:
        raise InputError(f"{run.path}: no trials yet; run `qsit search run {run.path}` first")
    return found


def settings_of(config: Config, axis: Axis) -> dict[str, Any]:
    """How `compare` fits an axis of a run.

    Adaptive trials crowd around the peak, where a polynomial over the whole axis goes astray.
    """
    space = config.space(axis)
    return {
        "use": space.surrogate if config.search.adaptive is None else "recommended",
        "degree": space.degree,
        "coordinate": space.coordinate,
        "seed": config.seed,
        "confidence": config.evaluate.confidence,
    }


def _fit(run: RunFolder, axis: Axis, settings: dict[str, Any]) -> dict[str, Any]:
    table = read_trials(run.trials(axis))
    try:
        seen = observed([row["ratio"] for row in table], [row["score"] for row in table])
        return compare(seen, **settings).to_json()
    except InputError as error:
        raise InputError(f"{run.trials(axis)}: {error}") from None
