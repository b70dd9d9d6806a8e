"""rim: the final proxies: trained at the fitted mix, they give λ and the exported mini model."""

from __future__ import annotations

import math
import shutil

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.controller import Reference
from qsit_ray.data.catalog import read_sizes
from qsit_ray.data.encode import LOSS_MASK
from qsit_ray.errors import InputError
from qsit_ray.mixture import from_ratios, ratios_at
from qsit_ray.run_files import FoundMix
from qsit_ray.search.records import FINAL_PROXIES, folder_of, model_folder
from qsit_ray.search.trials import (
    Task,
    reference_at_end,
    reference_curve,
    reference_loss_ratio,
    write_trials,
)
from qsit_ray.search.tuner import run_search
from qsit_ray.stages.search import fitted_ratio, open_folder, proxy_inputs
from qsit_ray.terminal import Terminal

OPTIMUM = 1.0  # the final proxies have one point: the mix itself


def are_trained(run: RunFolder) -> bool:
    """Whether final proxies have been trained at the mix of the fits as they are."""
    return "proxies" in run.completed() and run.mixture.exists()


def final_proxies(run: RunFolder, config: Config, terminal: Terminal) -> bool:
    """Train proxies at the mix; write λ and the mix to mixture.json, the best model to
    proxy/model (the paper's Q-SIT-MINI).

    λ = mean L_S / mean L_I over the final proxies (Eq. 8), with its standard error over them. The
    best has the highest mean of both tasks on validation splits; a rehearsal has no model. A fixed
    mix that no controller adjusts needs neither. False when the stage was complete before.

    Raises RuntimeError when every proxy failed.
    """
    if config.mix is None:
        optima = {axis.name: fitted_ratio(run, axis.name) for axis in config.axes}
        ratios = ratios_at(config.pools, optima)
    else:
        ratios = {pool: config.mix[pool] for pool in config.pools}
    last = config.search.spaces.get(config.axes[-1].name)
    answers = last.answers if last else "accuracy"
    inputs = {
        **proxy_inputs(run, config),
        "seeds": list(config.search.proxy_seeds) if config.has_proxies else [],
        "epochs": config.search.proxy_epochs,
        "answers": answers,
        "ratios": ratios,
    }
    if run.is_complete("proxies", inputs):
        return False
    try:
        mixture = from_ratios(ratios, read_sizes(run.catalog)[config.pools[0]])
    except ValueError as error:
        raise InputError(f"{run.path}: {error}") from None
    with run.stage("proxies", inputs) as cost:
        reference, spread, at_end = None, None, None
        curve: tuple[Reference, ...] = ()
        if config.has_proxies:
            folder = open_folder(folder_of(run, FINAL_PROXIES, config.search.storage), inputs)
            objective = "both" if config.has_benchmarks else "losses"
            trained = config.model_copy(update={"search": config.search.final})
            task = Task(
                run, trained, folder, lambda ratio: mixture, objective, answers, keep_models=True
            )
            points = [(OPTIMUM, seed) for seed in config.search.proxy_seeds]
            with terminal.bar("Final proxies at the mix") as bar:
                rows = run_search(task, points, bar)
            table = run.path / "proxy" / "trials.parquet"
            write_trials(table, rows, config.pools, config.tasks)
            done = [row for row in rows if row.status == "completed"]
            if not done:
                raise RuntimeError(f"final proxies: all failed; the first: {rows[0].reason}")
            if failed := len(rows) - len(done):
                terminal.say(f"{failed} of {len(rows)} final proxies failed; λ is from the others")
            if config.search.rehearsal is None:
                best = max(done, key=lambda row: -math.inf if row.score is None else row.score)
                with (
                    artifacts.local(model_folder(folder, *best.point)) as source,
                    artifacts.atomic(run.proxy_model) as temporary,
                ):
                    shutil.copytree(source, temporary)
            cost.device_seconds = sum(row.device_seconds or 0.0 for row in done)
            reference, spread = reference_loss_ratio(done)
            at_end, curve = reference_at_end(done), tuple(reference_curve(done))
        found = FoundMix(
            ratios,
            reference_loss_ratio=reference,
            loss_mask=LOSS_MASK,
            loss=config.loss,
            reference_loss_ratio_error=spread,
            reference_at_end=at_end,
            reference_curve=curve,
            rows=mixture,
            catalog=artifacts.file_sha256(run.catalog / "manifest.json"),
        )
        artifacts.write_json(run.mixture, found.to_json())
    return True
