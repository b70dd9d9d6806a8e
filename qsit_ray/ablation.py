"""rim: ablations: every arm with every seed is a run of its own, as many at once as fit.

ablations/<study>/seed-<n>/        the data of a seed, and the final proxies at the found mix; of
                                   seed 0, which is the run's own, the run itself has them
ablations/<study>/<arm>-<n>/       a repeat: a run folder whose data is that of its seed
ablations/<study>/results.json     what the repeats measured
"""

from __future__ import annotations

import os
import shutil
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from qsit_ray import artifacts, pipeline, placement
from qsit_ray.arms import (
    METHOD,
    Arm,
    Study,
    controllers,
    domains,
    labels,
    scoring_pools,
    with_rows,
    with_seed,
)
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config, Mix
from qsit_ray.data.catalog import read_sizes
from qsit_ray.demo import photographs
from qsit_ray.errors import InputError, mistake_in
from qsit_ray.evaluation.intervals import Bootstrap
from qsit_ray.mixture import DOMAINS
from qsit_ray.report import ablations
from qsit_ray.report.ablations import ArmResult
from qsit_ray.run_config import RunConfig, change
from qsit_ray.run_files import FoundMix, read_epochs
from qsit_ray.session import START_TIMEOUT, WATCHER, cores, on_cluster, trainings_at_once
from qsit_ray.terminal import Bar, Terminal, quiet

LOCK_SECONDS = 120.0
PLACE_SECONDS = "600"
"""Ray Train's patience with a place that other arms hold."""
Start = Callable[[], Any]
"""Starts a Ray task."""
# Of a seed's folder: what each of its repeats uses and none changes.
DATA = ["catalog", "tokens", "features"]
FILES = ["base_models.json", "hashes.json"]


@dataclass(frozen=True)
class Repeat:
    """One arm with one seed."""

    arm: Arm
    seed: int
    folder: Path


def ablate(
    run: RunFolder,
    config: Config,
    study: Study,
    seeds: Sequence[int],
    terminal: Terminal,
    only: Sequence[str] | None = None,
) -> list[ArmResult]:
    """Run the stages up to the mix, then the arms of a study with every seed, and compare them.

    What has ended is skipped. `only`: the arms besides the method that are trained, by default all.

    Raises RuntimeError when repeats failed, after the others have ended, and InputError for an
    unknown arm, or where a repeat was trained with other settings.
    """
    _check(config, study, only)
    if not on_cluster():
        # The proxies and predictions of other arms may hold the place of a training for a while.
        os.environ.setdefault(START_TIMEOUT, PLACE_SECONDS)
    pipeline.build_data(run, config, terminal)
    trainings = max(1, cores() // config.train.workers)
    asked = placement.of_run(config)
    with pipeline.ray_session(config, terminal, *asked, trainings=trainings) as dashboard:
        terminal.say(f"Ray dashboard: http://{dashboard}   log: {run.log}")
        pipeline.find_mix(run, config, terminal)
        found = FoundMix.read(run.mixture).ratios
        sizes = read_sizes(run.catalog)
        whole = {domain: sizes[domain] / sizes["scoring"] for domain in DOMAINS}
        arms = _chosen(_arms(config, study, found, whole), only)
        repeats, bases = _train_all(run, config, study, arms, seeds, terminal)
    terminal.say("Comparing the arms over resamples of the test photographs")
    folders = {(each.arm.name, each.seed): each.folder for each in repeats}
    bootstrap = Bootstrap(config.seed, config.evaluate.confidence)
    rule = config.train.controller
    kind = rule.reference if rule else "best"
    results = ablations.measured(folders, bases, METHOD, kind, bootstrap)
    ablations.write(run.path / "ablations" / study / ablations.RESULTS, results)
    return results


def _check(config: Config, study: Study, only: Sequence[str] | None) -> None:
    """Raises InputError for a run that has no arms to compare, or not one of those asked for."""
    if config.search.rehearsal is not None:
        raise InputError("search.rehearsal: an ablation trains")
    if not config.has_benchmarks:
        raise InputError("data.source: pools has no benchmarks on which arms could be compared")
    if config.train.controller is None:
        raise InputError("train.controller: an ablation compares with a run that has one")
    if config.search.storage is not None:
        raise InputError("search.storage: the runs of an ablation can't share it; leave it out")
    any_mix: Mix = dict.fromkeys(DOMAINS, 1.0)  # the names do not depend on it
    try:
        _chosen(_arms(config, study, any_mix, any_mix), only)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"data.scoring: {error}") from None
    if study == "domains" and config.mix is not None and not all(config.mix.values()):
        raise InputError("mix: a domain has no rows, so that none can be left out")


def _arms(config: Config, study: Study, found: Mix, whole: Mix) -> list[Arm]:
    """The arms of a study at the found mix; `whole`: the domains as they are."""
    if study == "controller":
        return controllers(config, found)
    if study == "scoring":
        return scoring_pools(config, found, photographs.pools())
    if study == "labels":
        return labels(config, found)
    return domains(config, found, whole)


def _chosen(arms: Sequence[Arm], only: Sequence[str] | None) -> list[Arm]:
    """The method and the named arms. Raises InputError for a name that no arm has."""
    names = [arm.name for arm in arms]
    for name in only or ():
        if name not in names:
            raise InputError(f"--only {name}: no such arm; expected {', '.join(names)}")
    return [arm for arm in arms if only is None or arm.name in (METHOD, *only)]


def _train_all(
    run: RunFolder,
    config: Config,
    study: Study,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    terminal: Terminal,
) -> tuple[list[Repeat], dict[int, Path]]:
    """Train the arms with every seed. Returns the repeats, and the folder of each seed, which has
    λ."""
    folder = run.path / "ablations" / study
    repeats = [Repeat(arm, seed, folder / f"{arm.name}-{seed}") for seed in seeds for arm in arms]
    limit = trainings_at_once(config.train)
    # Beside the driver, whose node stays as long as the command.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    prepare, train = (
        task.options(scheduling_strategy=here, runtime_env=_environment())
        for task in (_prepare, _train)
    )
    bases = {seed: folder / f"seed-{seed}" if seed else run.path for seed in seeds}
    method = next(arm for arm in arms if arm.name == METHOD)
    made_with = RunConfig.read(run).made_with
    for each in repeats:
        # All of them first: none must start with settings that another refuses.
        there = RunFolder(each.folder)
        if each.arm.rows_of is None and there.config.exists():
            change(there, with_seed(each.arm, each.seed))
    tasks: dict[str, Start] = {
        base.name: partial(prepare.remote, run, base, with_seed(method, seed), made_with)
        for seed, base in bases.items()
        if base != run.path
    }
    if tasks:
        with terminal.bar("Data and proxies of the other seeds") as bar:
            _all_of(tasks, limit, partial(_shown, bar, len(tasks), 0))
    with terminal.bar(f"{len(arms)} arms with {len(seeds)} seeds") as bar:
        for dependent in (False, True):
            now = [each for each in repeats if (each.arm.rows_of is not None) == dependent]
            tasks = {
                each.folder.name: partial(
                    train.remote,
                    bases[each.seed],
                    each.folder,
                    _settings(each, repeats),
                    made_with,
                )
                for each in now
            }
            before = len(repeats) - len(now) if dependent else 0
            _all_of(tasks, limit, partial(_shown, bar, len(repeats), before))
    return repeats, bases


def _settings(repeat: Repeat, repeats: Iterable[Repeat]) -> Config:
    """The configuration of a repeat; that of an arm of equal rows follows from another's epochs."""
    config = with_seed(repeat.arm, repeat.seed)
    if repeat.arm.rows_of is None:
        return config
    (other,) = (
        RunFolder(each.folder)
        for each in repeats
        if (each.arm.name, each.seed) == (repeat.arm.rows_of, repeat.seed)
    )
    return with_rows(config, [line.rows_planned for line in read_epochs(other.epochs)])


def _shown(bar: Bar, total: int, before: int, done: int, running: Iterable[str]) -> None:
    bar.update(before + done, total, ", ".join(running))


def _all_of(
    tasks: Mapping[str, Start], limit: int, report: Callable[[int, Iterable[str]], None]
) -> None:
    """Run the tasks, at most `limit` at once. Raises RuntimeError with the first that failed, after
    the others have ended, and a user's mistake at once."""
    waiting = list(tasks.items())
    running: dict[Any, str] = {}
    failed: dict[str, str] = {}
    while waiting or running:
        while waiting and len(running) < limit:
            name, start = waiting.pop(0)
            running[start()] = name
        report(len(tasks) - len(waiting) - len(running), running.values())
        (ended,), _ = ray.wait(list(running))
        name = running.pop(ended)
        try:
            ray.get(ended)
        except ray.exceptions.RayError as error:
            if mistake := mistake_in(error):
                raise mistake from None
            cause = getattr(error, "cause", None) or error
            text = str(cause).strip().splitlines() or [""]
            failed[name] = f"{type(cause).__name__}: {text[-1]}"
    report(len(tasks), ())
    if failed:
        first, reason = next(iter(failed.items()))
        raise RuntimeError(
            f"{len(failed)} of {len(tasks)} failed; see their logs; first {first}: {reason}"
        )


def _environment() -> dict[str, Any] | None:
    """What Ray Train reads where it is called; processes of this machine have it already."""
    if not on_cluster():
        return None
    names = (START_TIMEOUT, WATCHER)
    return {"env_vars": {name: os.environ[name] for name in names if name in os.environ}}


@ray.remote(num_cpus=0, max_retries=0)
def _prepare(source: RunFolder, folder: Path, config: Config, made_with: dict[str, object]) -> None:
    """The data and the final proxies of a seed."""
    with _working(folder) as (run, terminal):
        for name in FILES:
            with suppress(FileNotFoundError):
                shutil.copyfile(source.path / name, folder / name)
        _configure(run, config, made_with)
        _up_to_proxies(run, config, terminal)


@ray.remote(num_cpus=0, max_retries=0)
def _train(base: Path, folder: Path, config: Config, made_with: dict[str, object]) -> None:
    """A repeat, on the data of its seed."""
    from qsit_ray.stages.evaluate import evaluate_models
    from qsit_ray.stages.train import train

    with _working(folder) as (run, terminal):
        if not run.config.exists():
            _fork(RunFolder(base), run, config)
        _configure(run, config, made_with)
        _up_to_proxies(run, config, terminal)
        train(run, config, terminal)
        # Of the others' predictions nothing is compared.
        evaluate_models(run, config, terminal, primary_only=True)


def _up_to_proxies(run: RunFolder, config: Config, terminal: Terminal) -> None:
    from qsit_ray.stages.base_models import prepare, share_features
    from qsit_ray.stages.catalog import build
    from qsit_ray.stages.proxies import final_proxies
    from qsit_ray.stages.tokens import count_tokens

    for stage in (build, prepare, count_tokens, share_features, final_proxies):
        stage(run, config, terminal)


@contextmanager
def _working(folder: Path) -> Iterator[tuple[RunFolder, Terminal]]:
    """Hold a run folder; what fails is in its log."""
    run = RunFolder(folder)
    # A process of a command that was killed may still work on it.
    with run.lock(LOCK_SECONDS), quiet(run.log) as terminal:
        try:
            yield run, terminal
        except Exception:
            traceback.print_exc()
            raise


def _configure(run: RunFolder, config: Config, made_with: dict[str, object]) -> None:
    """Raises InputError where the folder has results of other settings."""
    if run.config.exists():
        change(run, config)
    else:
        RunConfig(config, made_with, []).write(run)


def _fork(base: RunFolder, run: RunFolder, config: Config) -> None:
    """Make a run folder with another's data where it has no other, and with its final proxies where
    they are the same."""
    own = RunConfig.read(base).settings
    repeated = {"train", "evaluate"}
    shared, files = DATA, FILES
    if config.data != own.data:
        repeated |= {"data", "tokens proxy", "tokens primary", "features", "proxies"}
        shared = []
    elif (
        config.has_proxies
        and config.loss_inputs(config.search) == own.loss_inputs(own.search)
        and FoundMix.read(base.mixture).ratios == config.mix
    ):
        shared, files = [*DATA, "proxy"], [*FILES, base.mixture.name]
    else:
        repeated.add("proxies")
    for name in shared:
        link = run.path / name
        link.unlink(missing_ok=True)
        if (base.path / name).exists():
            link.symlink_to(os.path.relpath(base.path / name, run.path))
    for name in files:
        with suppress(FileNotFoundError):
            shutil.copyfile(base.path / name, run.path / name)
    stages = artifacts.read_json(base.stages).items()
    artifacts.write_json(run.stages, {name: each for name, each in stages if name not in repeated})
