"""rim: the search stages: an axis of the grid, and the final proxies at the fitted mix."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.files import changed
from qsit_ray.data.catalog import read_sizes
from qsit_ray.errors import InputError
from qsit_ray.mixture import Axis
from qsit_ray.models.base import base_checkpoint, identity
from qsit_ray.search import trials
from qsit_ray.search.estimate import longest_first, planned
from qsit_ray.search.records import finished, folder_of
from qsit_ray.search.trial import Task
from qsit_ray.search.tuner import run_rounds, run_trials
from qsit_ray.terminal import Terminal

# Read off after the trials; changing them repeats none.
FIT_SETTINGS = {"coordinate", "degree", "surrogate"}


def search_inputs(run: RunFolder, config: Config, axis: Axis) -> dict[str, Any]:
    """What the trials of `axis` depend on. Raises InputError when an earlier fit is missing."""
    second = axis != "interpreting_general"
    return {
        **proxy_inputs(run, config),
        "space": config.space(axis).model_dump(mode="json", exclude=FIT_SETTINGS),
        "ratio_general": fitted_ratio(run, "interpreting_general") if second else None,
    }


def search_axis(run: RunFolder, config: Config, axis: Axis, terminal: Terminal) -> None:
    """Train the proxy at each ratio and seed of `axis`; write trials.parquet.

    Raises RuntimeError when every trial failed.
    """
    inputs = search_inputs(run, config, axis)
    name = f"search {axis}"
    if run.is_complete(name, inputs):
        return
    space = config.space(axis)
    search = config.search
    mixture_at = partial(
        trials.mixture_at,
        axis,
        sizes=read_sizes(run.catalog),
        ratio_general=inputs["ratio_general"],
        max_repeats=search.max_repeats,
    )
    # All of them now: a ratio that can't be had is said before anything is trained.
    planned(config, read_sizes(run.catalog))
    rows = {ratio: mixture_at(ratio) for ratio in space.ratios}
    task = Task(
        config=config,
        catalog=run.catalog,
        features=run.features,
        base=base_checkpoint(config, "proxy"),
        folder=open_folder(folder_of(run, axis, search.storage), inputs),
        mixture_at=mixture_at,
        objective=space.objective,
        optimum=getattr(search.rehearsal, axis) if search.rehearsal else None,
    )
    with run.stage(name, inputs) as cost, terminal.bar(f"Search {axis}") as bar:
        if search.adaptive is None:
            points = [(ratio, seed) for ratio in space.ratios for seed in space.seeds]
            in_order = longest_first(points, lambda ratio: search.longest(rows[ratio].total))
            outcomes, reasons = run_trials(task, in_order, bar)
        else:
            from qsit_ray.search.adaptive import progress, propose

            low, high = min(space.ratios), max(space.ratios)
            rounds = partial(propose, search.adaptive, low, high, space.seeds, config.seed)
            outcomes, reasons, points = run_rounds(task, rounds, search.adaptive.trials, bar)
            rows = {ratio: mixture_at(ratio) for ratio, _ in points}
            scores = [outcomes[point]["score"] if point in outcomes else None for point in points]
            seen = [(*point, score) for point, score in zip(points, scores, strict=True)]
            ended = progress(search.adaptive, low, high, config.seed, seen)
            artifacts.write_json(run.search(axis) / "adaptive.json", asdict(ended))
        table = trials.write_trials(run.trials(axis), points, outcomes, reasons, rows)
        cost["device_seconds"] = sum(row["device_seconds"] or 0.0 for row in table)
        if not outcomes:
            first = next(iter(reasons.values()), "no reason given")
            raise RuntimeError(f"{name}: every trial failed; the first: {first}")


def proxy_inputs(run: RunFolder, config: Config) -> dict[str, Any]:
    """What every proxy training depends on."""
    apart = {"interpreting_general", "interpreting_scoring", "proxy_seeds"}
    return {
        "search": config.search.model_dump(mode="json", exclude=apart),
        "models": config.models.model_dump(mode="json"),
        "base": identity(base_checkpoint(config, "proxy")),
        "seed": config.seed,
        "catalog": artifacts.file_sha256(run.catalog / "manifest.json"),
    }


def fitted_ratio(run: RunFolder, axis: Axis) -> float:
    """The fitted optimum of `axis`. Raises InputError when it has not been fitted."""
    if not run.fit(axis).exists():
        raise InputError(f"{run.fit(axis)}: missing; run `qsit fit {run.path}` first")
    return artifacts.read_json(run.fit(axis))["optimum"]


def open_folder(folder: Path, inputs: dict[str, Any]) -> Path:
    """`folder`, for trials of these inputs.

    Raises InputError where trials of other inputs have finished: they are not thrown away.
    """
    file = folder / "inputs.json"
    before = artifacts.read_json(file) if file.exists() else {}
    names = changed(before, inputs)
    if names and (trials := finished(folder)):
        raise InputError(
            f"{folder}: {len(trials)} trials finished with another "
            f"{' and another '.join(names[:3])}; remove it to search anew"
        )
    if names:
        artifacts.remove(folder)
        artifacts.write_json(file, inputs)
    return folder
