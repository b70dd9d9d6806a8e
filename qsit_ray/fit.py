"""pure: the fit stage: from the tables of a run's trials to the optima."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qsit_ray import artifacts, surrogate
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import Config, Space
from qsit_ray.errors import InputError
from qsit_ray.mixture import AXES
from qsit_ray.search.space import read_trials


def fit_run(run: RunFolder, config: Config) -> dict[str, dict[str, Any]]:
    """Fit every axis that has trials; write its fit.json. Returns the fits by axis.

    Raises InputError when no axis has trials yet.
    """
    fits: dict[str, dict[str, Any]] = {}
    for axis in AXES:
        if not run.trials(axis).exists():
            continue
        space = config.space(axis)
        inputs = {
            "trials": artifacts.file_sha256(run.trials(axis)),
            "degree": space.degree,
            "coordinate": space.coordinate,
            "seed": config.seed,
            "confidence": config.evaluate.confidence,
        }
        if not run.stands(f"fit {axis}", inputs):
            with run.stage(f"fit {axis}", inputs):
                artifacts.write_json(run.fit(axis), _fit(run.trials(axis), space, config))
        fits[axis] = artifacts.read_json(run.fit(axis))
    if not fits:
        raise InputError(f"{run.path}: no trials yet; run `qsit search run {run.path}` first")
    return fits


def _fit(trials: Path, space: Space, config: Config) -> dict[str, Any]:
    table = read_trials(trials)
    try:
        fitted = surrogate.fit(
            [row["ratio"] for row in table],
            [row["score"] for row in table],
            degree=space.degree,
            coordinate=space.coordinate,
            seed=config.seed,
            confidence=config.evaluate.confidence,
        )
    except ValueError as error:
        raise InputError(f"{trials}: {error}") from None
    return fitted.to_json()
