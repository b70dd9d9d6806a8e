"""pure: the fit stage: from the tables of a run's trials to the optima."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.search import setting
from qsit_ray.data.catalog import read_sizes
from qsit_ray.errors import InputError
from qsit_ray.mixture import Axis, mixture_on_axis
from qsit_ray.search.trials import read_trials
from qsit_ray.stages import evidence
from qsit_ray.surrogate.comparison import (
    PAPER_DEGREE,
    Comparison,
    Outliers,
    Surrogate,
    compare_curves,
)
from qsit_ray.surrogate.coordinates import Coordinate
from qsit_ray.surrogate.observations import observed


@dataclass(frozen=True)
class FitSettings:
    """The arguments of `compare_curves`; the defaults are the paper's."""

    use: Surrogate = "polynomial"
    degree: int = PAPER_DEGREE
    coordinate: Coordinate = "ratio"
    seed: int = 0
    confidence: float = 0.95
    tolerance: float | None = None
    outliers: Outliers = "drop"


def fit_run(run: RunFolder, config: Config) -> dict[str, Comparison]:
    """Fit every axis that has trials; write its fit.json. Returns the fits by axis.

    Raises InputError when no axis has trials yet.
    """
    fits: dict[str, Comparison] = {}
    for axis in axes_with_trials(run, config):
        settings = asdict(fit_settings(config, axis))
        # Trials alone, without their run, have no mix whose rows could be counted.
        sizes = read_sizes(run.catalog) if run.catalog.exists() else None
        rows = partial(_rows, config.axis(axis), sizes) if sizes else None
        inputs = {"trials": artifacts.file_sha256(run.trials(axis)), "rows": sizes, **settings}
        if known := evidence.digests(run, config, axis):
            inputs["evidence"] = known
        if not run.is_complete(f"fit {axis}", inputs):
            with run.stage(f"fit {axis}", inputs):
                table = read_trials(run.trials(axis))
                try:
                    seen = observed([row.ratio for row in table], [row.score for row in table])
                    told = [
                        *evidence.of_losses(table, config, axis),
                        *evidence.of_others(run, config, axis),
                    ]
                    found = compare_curves(seen, **settings, rows=rows, evidence=told)
                except InputError as error:
                    raise InputError(f"{run.trials(axis)}: {error}") from None
                found = replace(found, losses=evidence.loss_curves(table))
                artifacts.write_json(run.fit(axis), found.to_json())
        fits[axis] = Comparison.from_json(artifacts.read_json(run.fit(axis)))
    return fits


def _rows(axis: Axis, sizes: Mapping[str, int], ratio: float) -> float:
    """Rows of the mix at a ratio; on a later axis whatever the optima before are."""
    if axis.takes_all:
        return sizes[axis.under] * (1 + ratio)
    return float(mixture_on_axis(axis, ratio, sizes, {}).total)


def doubts(run: RunFolder, config: Config) -> list[str]:
    """The doubts that the fitted searches leave, a line each, with the cost of as many trials
    again."""
    lines = []
    for axis in axes_with_trials(run, config):
        found = Comparison.from_json(artifacts.read_json(run.fit(axis)))
        seconds = sum(row.device_seconds or 0.0 for row in read_trials(run.trials(axis)))
        seeds = len(config.space(axis).seeds)
        lines += [
            f"{axis}: {doubt}; as many trials again ({setting(axis)}.seeds: {2 * seeds} in place "
            f"of {seeds}) would take about {seconds / 3600:.2g} device hours"
            for doubt in found.doubts
        ]
    return lines


def axes_with_trials(run: RunFolder, config: Config) -> list[str]:
    """Raises InputError when there is none yet."""
    found = [axis.name for axis in config.axes if run.trials(axis.name).exists()]
    if not found:
        raise InputError(f"{run.path}: no trials yet; run `qsit search run {run.path}` first")
    return found


def fit_settings(config: Config, axis: str) -> FitSettings:
    """An adaptive search is fitted by the recommended curve: its trials crowd around the peak,
    where a polynomial over the whole axis is wrong."""
    space = config.space(axis)
    return FitSettings(
        use=space.surrogate if config.search.adaptive is None else "recommended",
        degree=space.degree,
        coordinate=space.coordinate,
        seed=config.seed,
        confidence=config.evaluate.confidence,
    )
