"""rim: the search stage: the trials of one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.changes import FIT_SETTINGS, differ
from qsit_ray.config.config import Config
from qsit_ray.config.section import meaning
from qsit_ray.data.catalog import read_sizes
from qsit_ray.errors import InputError
from qsit_ray.mixture import AXES, DOMAINS
from qsit_ray.models.base import base_checkpoint, identity
from qsit_ray.search import trials
from qsit_ray.search.estimate import planned
from qsit_ray.search.records import finished, folder_of
from qsit_ray.search.study import SearchStudy
from qsit_ray.search.summary import read_fit
from qsit_ray.search.trials import Point, Task, TrialOutcome
from qsit_ray.search.tuner import run_search
from qsit_ray.stages import evidence
from qsit_ray.terminal import Terminal

if TYPE_CHECKING:
    from qsit_ray.search.adaptive import Rounds

EVIDENCE = ("scouts", "earlier")  # no trial is another for it
# More of them are more trials; those done stay valid.
ADDED_TO = ("space.ratios", "space.seeds", "search.adaptive.trials", "seeds")


def search_inputs(run: RunFolder, config: Config, axis: str) -> dict[str, object]:
    """The inputs of the trials of `axis`. Raises InputError when an earlier fit is missing."""
    return {
        **proxy_inputs(run, config),
        "space": config.space(axis).model_dump(mode="json", exclude=set(FIT_SETTINGS)),
        **_at_optima(run, config, axis),
    }


def _stage_inputs(run: RunFolder, config: Config, axis: str) -> dict[str, object]:
    """Also of the choice of trials: what is known beside them."""
    scouts = config.search.scouts
    earlier = evidence.earlier_files(run, config, axis)
    known = {
        "scouts": scouts.model_dump() if scouts else None,
        "earlier": {text: artifacts.file_sha256(path) for text, path in earlier.items()},
    }
    inputs = search_inputs(run, config, axis)
    return {**inputs, "known": known} if any(known.values()) else inputs


def search_axis(run: RunFolder, config: Config, axis: str, terminal: Terminal) -> bool:
    """Train the proxy at each ratio and seed of `axis`; write trials.parquet and the study. False
    when the stage was complete before.

    Raises RuntimeError when every trial failed, or all of one ratio and `search.lost_ratios` is
    `stop`; the table of the trials is written before.
    """
    evidence.keep_earlier(run, config)
    inputs, whole = search_inputs(run, config, axis), _stage_inputs(run, config, axis)
    name = f"search {axis}"
    if run.is_complete(name, whole):
        return False
    space, search, sizes = config.space(axis), config.search, read_sizes(run.catalog)
    planned(config, sizes)  # raises for a ratio that is not available, before anything is trained
    task = Task(
        run=run,
        config=config,
        folder=open_folder(folder_of(run, axis, search.storage), inputs),
        mixture_at=partial(
            trials.mixture_at,
            config.axis(axis),
            sizes=sizes,
            optima=optima_before(run, config, axis),
            max_repeats=search.max_repeats,
        ),
        objective=space.objective,
        answers=space.answers,
        optimum=getattr(search.rehearsal, axis) if search.rehearsal else None,
    )
    study = SearchStudy(run.search(axis) / "study.journal", space)
    with run.stage(name, whole) as cost:
        scouts = _scout(run, task, axis, inputs, terminal) if search.scouts else []
        points: Sequence[Point] | Rounds
        points = [(ratio, seed) for ratio in space.ratios for seed in space.seeds]
        if search.adaptive is not None:
            from qsit_ray.search.adaptive import Rounds

            low, high = min(space.ratios), max(space.ratios)
            known = tuple(evidence.of_others(run, config, axis))
            points = Rounds(search.adaptive, low, high, space.seeds, config.seed, known)
        with terminal.bar(f"Search {axis}") as bar:
            rows = run_search(task, points, bar, study)
        trials.write_trials(run.trials(axis), rows, config.pools, config.tasks)
        if not isinstance(points, Sequence):
            ended = points.progress([(*row.point, row.score) for row in rows])
            artifacts.write_json(run.search(axis) / "adaptive.json", asdict(ended))
        cost.device_seconds = sum(row.device_seconds or 0.0 for row in [*scouts, *rows])
        _stop_at_lost_ratios(name, rows, search.lost_ratios == "skip")
    return True


def end_axis(run: RunFolder, config: Config) -> tuple[str, int]:
    """Take the trials that have finished as all those of the axis under way; write trials.parquet.
    Returns the axis and their number.

    Raises InputError where no grid is under way, or too few ratios have a score to be fitted.
    """
    if config.search.adaptive is not None:
        raise InputError(
            "search.adaptive: such a search ends by itself; lower search.adaptive.trials instead"
        )
    for axis in (each.name for each in config.searches):
        inputs, whole = search_inputs(run, config, axis), _stage_inputs(run, config, axis)
        if run.is_complete(name := f"search {axis}", whole):
            continue
        space = config.space(axis)
        done = finished(open_folder(folder_of(run, axis, config.search.storage), inputs))
        points = [(ratio, seed) for ratio in space.ratios for seed in space.seeds]
        rows = [done[point] for point in points if point in done]
        scored = {row.ratio for row in rows if row.score is not None}
        if len(scored) <= space.degree:
            raise InputError(
                f"{axis}: {len(scored)} ratios have a score, too few for a curve of degree "
                f"{space.degree}; `qsit search run {run.path}` goes on"
            )
        with run.stage(name, whole) as cost:
            trials.write_trials(run.trials(axis), rows, config.pools, config.tasks)
            cost.device_seconds = sum(row.device_seconds or 0.0 for row in rows)
        return axis, len(rows)
    raise InputError(f"{run.path}: no search is under way")


def _scout(
    run: RunFolder, task: Task, axis: str, inputs: dict[str, object], terminal: Terminal
) -> list[TrialOutcome]:
    """Short trials over the whole axis, one at a ratio; those that failed say nothing.

    Once an adaptive search has trials, its scouts are what they were: one that failed before would
    else change what is proposed.
    """
    search, space = task.config.search, task.config.space(axis)
    assert search.scouts is not None
    table = evidence.scouts_file(run, axis)
    if search.adaptive is not None and table.exists() and finished(task.folder):
        return trials.read_trials(table)
    short = search.scouting
    lengths = {"max_steps": short.max_steps, "max_epochs": short.max_epochs}
    folder = open_folder(task.folder / "scouts", {**inputs, "space": None, **lengths})
    ratios = np.geomspace(min(space.ratios), max(space.ratios), search.scouts.ratios)
    points = [(float(f"{ratio:.4g}"), space.seeds[0]) for ratio in ratios]
    config = task.config.model_copy(update={"search": short})
    with terminal.bar(f"Scouts of {axis}") as bar:
        rows = run_search(replace(task, config=config, folder=folder), points, bar)
    trials.write_trials(table, rows, config.pools, config.tasks)
    return rows


def _stop_at_lost_ratios(name: str, rows: Sequence[TrialOutcome], skip: bool) -> None:
    done = {row.ratio for row in rows if row.status == "completed"}
    lost = {row.ratio: row.reason for row in rows if row.ratio not in done}
    if not done:
        raise RuntimeError(f"{name}: every trial failed; the first: {rows[0].reason}")
    if lost and not skip:
        ratios, reason = ", ".join(f"{ratio:g}" for ratio in lost), next(iter(lost.values()))
        raise RuntimeError(
            f"{name}: no trial is left at ratio {ratios} ({reason}); run it again once the cause "
            "is mended, or fit the other ratios with --set search.lost_ratios=skip"
        )


def proxy_inputs(run: RunFolder, config: Config) -> dict[str, object]:
    """The inputs of every proxy training."""
    search = meaning(config.search)
    others = (*AXES, "axes", *EVIDENCE, "proxy_seeds", "proxy_epochs")
    # The paper's tasks are left out: trials from before they had names stay valid.
    tasks = {} if config.tasks == DOMAINS[:2] else {"tasks": list(config.tasks)}
    return {
        **tasks,
        **config.prompts.inputs,
        "search": {name: value for name, value in search.items() if name not in others},
        "models": config.models.model_dump(mode="json", exclude={"proxy", "primary"}),
        "base": identity(run, base_checkpoint(config, "proxy")),
        "loss": config.loss_inputs(config.search),
        "seed": config.seed,
        "catalog": artifacts.file_sha256(run.catalog / "manifest.json"),
    }


def fitted_ratio(run: RunFolder, axis: str) -> float:
    """The fitted optimum of `axis`. Raises InputError when it has not been fitted."""
    found = read_fit(run, axis)
    if found is None:
        raise InputError(f"{run.fit(axis)}: missing; run `qsit fit {run.path}` first")
    return found.ratio


def open_folder(folder: Path, inputs: dict[str, object]) -> Path:
    """`folder`, for trials of these inputs.

    Raises InputError where trials of other inputs have finished: they are not thrown away.
    """
    file = folder / "inputs.json"
    before = artifacts.read_json(file) if file.exists() else {}
    names = [name for name, *_ in differ(before, inputs) if name not in ADDED_TO]
    if names and (done := finished(folder)):
        raise InputError(
            f"{folder}: {len(done)} trials finished with another "
            f"{' and another '.join(names[:3])}; remove it to search again"
        )
    if names:
        artifacts.remove(folder)
    if before != inputs:
        artifacts.write_json(file, inputs)
    return folder


def optima_before(run: RunFolder, config: Config, axis: str) -> dict[str, float]:
    """The fitted optima of the axes before, at which this one is searched. Raises InputError when
    one has not been fitted."""
    names = [each.name for each in config.axes]
    return {name: fitted_ratio(run, name) for name in names[: names.index(axis)]}


def _at_optima(run: RunFolder, config: Config, axis: str) -> dict[str, object]:
    """These optima as inputs of the axis's trials; under the paper's axes by the key that they had
    when there were no others."""
    optima = optima_before(run, config, axis)
    if config.pools == DOMAINS:
        return {"ratio_general": optima.get(AXES[0])}
    return {"optima": optima}
