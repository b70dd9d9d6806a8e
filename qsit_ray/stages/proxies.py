"""rim: the final proxies: trained at the fitted mix, they give λ and the exported mini model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.data.catalog import read_sizes
from qsit_ray.data.encode import LOSS_MASK
from qsit_ray.errors import InputError
from qsit_ray.mixture import AXES, Mixture, from_ratios, ratios_at
from qsit_ray.models.base import base_checkpoint
from qsit_ray.search import trials
from qsit_ray.search.records import FINAL_PROXIES, folder_of, model_folder
from qsit_ray.search.trial import Task
from qsit_ray.search.tuner import run_trials
from qsit_ray.stages.search import fitted_ratio, open_folder, proxy_inputs
from qsit_ray.terminal import Terminal

OPTIMUM = 1.0  # the final proxies have one point: the mix itself


def final_proxies(run: RunFolder, config: Config, terminal: Terminal) -> bool:
    """Train proxies at the mix; write λ and the mix to mixture.json, the best model to
    proxy/model (the paper's Q-SIT-MINI).

    λ = mean L_S / mean L_I over the final proxies (Eq. 8). The best has the highest mean of both
    tasks on validation splits. A fixed mix that no controller adjusts needs neither. False when
    they stand already.
    """
    if config.mix is None:
        optima = [fitted_ratio(run, axis) for axis in AXES]
        ratios = ratios_at(*optima)
    else:
        ratios = config.mix.model_dump()
    inputs = {
        **proxy_inputs(run, config),
        "seeds": list(config.search.proxy_seeds) if config.has_proxies else [],
        "ratios": ratios,
    }
    if run.is_complete("proxies", inputs):
        return False
    try:
        mixture = from_ratios(ratios, read_sizes(run.catalog)["scoring"])
    except ValueError as error:
        raise InputError(f"{run.path}: {error}") from None
    with run.stage("proxies", inputs) as cost:
        reference = None
        if config.has_proxies:
            folder = open_folder(folder_of(run, FINAL_PROXIES, config.search.storage), inputs)
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
    table = trials.write_trials(
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
