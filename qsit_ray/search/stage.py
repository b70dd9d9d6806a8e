"""rim: the search stages: an axis of the grid, and the final proxies at the fitted mix."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import Config, changed
from qsit_ray.data.catalog import read_sizes
from qsit_ray.data.encode import LOSS_MASK
from qsit_ray.errors import InputError
from qsit_ray.mixture import AXES, Axis, Mixture, from_ratios, ratios_at
from qsit_ray.models.base import base_checkpoint, identity
from qsit_ray.search import space as grid
from qsit_ray.search.estimate import planned
from qsit_ray.search.order import longest_first
from qsit_ray.search.records import FINAL_PROXIES, finished, folder_of, model_folder
from qsit_ray.search.trial import Task
from qsit_ray.search.tuner import run_rounds, run_trials
from qsit_ray.terminal import Terminal

# Read off after the trials; changing them repeats none.
FIT_SETTINGS = {"coordinate", "degree", "surrogate"}
OPTIMUM = 1.0  # the final proxies have one point: the mix itself


def search_inputs(run: RunFolder, config: Config, axis: Axis) -> dict[str, Any]:
    """What the trials of `axis` depend on. Raises InputError when an earlier fit is missing."""
    second = axis != "interpreting_general"
    return {
        **_proxy_inputs(run, config),
        "space": config.space(axis).model_dump(mode="json", exclude=FIT_SETTINGS),
        "ratio_general": _fitted(run, "interpreting_general") if second else None,
    }


def search_axis(run: RunFolder, config: Config, axis: Axis, terminal: Terminal) -> None:
    """Train the proxy at each ratio and seed of `axis`; write trials.parquet.

    Raises RuntimeError when every trial failed.
    """
    inputs = search_inputs(run, config, axis)
    name = f"search {axis}"
    if run.stands(name, inputs):
        return
    space = config.space(axis)
    search = config.search
    mixture_at = partial(
        grid.mixture_at,
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
        folder=_begun(folder_of(run, axis, search.storage), inputs),
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
        table = grid.write_trials(run.trials(axis), points, outcomes, reasons, rows)
        cost["device_seconds"] = sum(row["device_seconds"] or 0.0 for row in table)
        if not outcomes:
            first = next(iter(reasons.values()), "no reason given")
            raise RuntimeError(f"{name}: every trial failed; the first: {first}")


def final_proxies(run: RunFolder, config: Config, terminal: Terminal) -> bool:
    """Train proxies at the mix; write λ and the mix to mixture.json, the best model to
    proxy/model (the paper's Q-SIT-MINI).

    λ = mean L_S / mean L_I over the final proxies (Eq. 8). The best has the highest mean of both
    tasks on validation splits. A fixed mix that no controller adjusts needs neither. False when
    they stand already.
    """
    if config.mix is None:
        optima = [_fitted(run, axis) for axis in AXES]
        ratios = ratios_at(*optima)
    else:
        ratios = config.mix.model_dump()
    inputs = {
        **_proxy_inputs(run, config),
        "seeds": list(config.search.proxy_seeds) if config.has_proxies else [],
        "ratios": ratios,
    }
    if run.stands("proxies", inputs):
        return False
    try:
        mixture = from_ratios(ratios, read_sizes(run.catalog)["scoring"])
    except ValueError as error:
        raise InputError(f"{run.path}: {error}") from None
    with run.stage("proxies", inputs) as cost:
        reference = None
        if config.has_proxies:
            folder = _begun(folder_of(run, FINAL_PROXIES, config.search.storage), inputs)
            done, failed = _train_proxies(run, config, mixture, folder, terminal)
            if failed:
                terminal.say(
                    f"{failed} of {failed + len(done)} final proxies failed; λ is of the rest"
                )
            cost["device_seconds"] = sum(row["device_seconds"] for row in done)
            reference = sum(row["loss_scoring"] for row in done) / sum(
                row["loss_interpreting"] for row in done
            )
        artifacts.write_json(
            run.mixture,
            {
                **ratios,
                "reference_loss_ratio": reference,
                # λ depends on which tokens count in the loss.
                "loss_mask": LOSS_MASK,
                "rows": mixture.counts(),
                "catalog": inputs["catalog"],
            },
        )
    return True


def _train_proxies(
    run: RunFolder, config: Config, mixture: Mixture, folder: Path, terminal: Terminal
) -> tuple[list[dict[str, Any]], int]:
    """The rows of the final proxies that completed, and how many failed; the best becomes
    proxy/model (a rehearsal has none)."""
    points = [(OPTIMUM, seed) for seed in config.search.proxy_seeds]
    task = Task(
        config=config,
        catalog=run.catalog,
        features=run.features,
        base=base_checkpoint(config, "proxy"),
        folder=folder,
        mixture_at=lambda ratio: mixture,
        objective="both",
        keep_models=True,
    )
    with terminal.bar("Final proxies at the mix") as bar:
        outcomes, reasons = run_trials(task, points, bar)
    table = grid.write_trials(
        run.path / "proxy" / "trials.parquet", points, outcomes, reasons, {OPTIMUM: mixture}
    )
    done = [row for row in table if row["status"] == "completed"]
    if not done:
        first = next(iter(reasons.values()), "no reason given")
        raise RuntimeError(f"final proxies: all failed; the first: {first}")
    if config.search.rehearsal is not None:
        return done, len(reasons)
    best = max(done, key=lambda row: row["score"] if row["score"] is not None else -2.0)
    with (
        artifacts.local(model_folder(folder, OPTIMUM, best["seed"])) as source,
        artifacts.atomic(run.proxy_model) as temporary,
    ):
        shutil.copytree(source, temporary)
    return done, len(reasons)


def _proxy_inputs(run: RunFolder, config: Config) -> dict[str, Any]:
    """What every proxy training depends on."""
    apart = {"interpreting_general", "interpreting_scoring", "proxy_seeds"}
    return {
        "search": config.search.model_dump(mode="json", exclude=apart),
        "models": config.models.model_dump(mode="json"),
        "base": identity(base_checkpoint(config, "proxy")),
        "seed": config.seed,
        "catalog": artifacts.file_sha256(run.catalog / "manifest.json"),
    }


def _fitted(run: RunFolder, axis: Axis) -> float:
    """The fitted optimum of `axis`. Raises InputError when it has not been fitted."""
    if not run.fit(axis).exists():
        raise InputError(f"{run.fit(axis)}: missing; run `qsit fit {run.path}` first")
    return artifacts.read_json(run.fit(axis))["optimum"]


def _begun(folder: Path, inputs: dict[str, Any]) -> Path:
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
