"""rim: a run: its folder with the configuration, its stages in order, and its results."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path

from qsit_ray import artifacts, placement, ray_job
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.changes import Change
from qsit_ray.config.config import Config
from qsit_ray.config.places import absolute
from qsit_ray.errors import InputError
from qsit_ray.mixture import short_names
from qsit_ray.models.base import record, recorded, resolved, with_names
from qsit_ray.placement import Request
from qsit_ray.run_config import FROM, RunConfig, change, opened
from qsit_ray.run_files import FoundMix, read_epochs
from qsit_ray.session import check_machine, on_cluster, processes, session
from qsit_ray.terminal import Terminal
from qsit_ray.train.trackers import require

PACKAGES = ("qsit_ray", "ray", "torch", "transformers", "deepspeed", "numpy", "scipy", "pyarrow")


def create(
    run: RunFolder, settings: Config, source: RunFolder | None = None
) -> tuple[Config, list[Change]]:
    """Write the run's config.yaml; where there is one, give the run these settings. `source`: the
    run that a new one is made from.

    Returns the settings with absolute paths and base models as the run uses them, and what changed.
    Raises InputError when results of the run depend on a setting that differs, the machine is too
    small, a new base model is not one to start from, or a new tracker is not installed.
    """
    settings = absolute(settings)
    bases, before = resolved(run, settings), opened(run) if run.config.exists() else None
    settings = with_names(settings, bases)
    if before is None:
        check_machine(settings, run.path)
    if before is None or before.train.trackers != settings.train.trackers:
        require(settings.train.trackers)
    if bases != recorded(run):
        from qsit_ray.stages.base_models import check

        check(run, settings, bases, Terminal())
    changed: list[Change] = []
    if before is None:
        revision = ray_job.revision(Path(__file__).parent)
        if revision is None and ray_job.in_job():
            Terminal(stamped=True).say(ray_job.UNKNOWN)
        made_with = {"versions": {name: version(name) for name in PACKAGES}, "git": revision}
        if source is not None:
            made_with[FROM] = str(source.path)
        RunConfig(settings, made_with, []).write(run)
    else:
        changed = change(run, settings)
    record(run, bases)
    return settings, changed


def build_data(run: RunFolder, config: Config, terminal: Terminal) -> None:
    """Build the catalog, the demo's base models, the counts of tokens, and shared features."""
    from qsit_ray.stages.base_models import prepare, share_features
    from qsit_ray.stages.catalog import build
    from qsit_ray.stages.evidence import keep_earlier
    from qsit_ray.stages.tokens import count_tokens

    keep_earlier(run, config)  # a mistake in `search.earlier` is known before anything is paid for
    build(run, config, terminal)
    if config.search.rehearsal is not None:
        return
    prepare(run, config, terminal)
    count_tokens(run, config, terminal)
    share_features(run, config, terminal)


def search_next(run: RunFolder, config: Config, terminal: Terminal) -> str | None:
    """Run the next search: an incomplete axis, or the final proxies once both axes are fitted.

    Returns the name of what was run, None when all of it is complete.
    """
    from qsit_ray.stages.proxies import final_proxies
    from qsit_ray.stages.search import search_axis

    for axis in config.searches:
        if search_axis(run, config, axis.name, terminal):
            return axis.name
    return "final proxies" if final_proxies(run, config, terminal) else None


def ray_session(
    config: Config, terminal: Terminal, *requests: Request, trainings: int = 1
) -> AbstractContextManager[str]:
    """The Ray session that the configuration's stages need, and that can meet the requests, with
    so many `trainings` side by side."""
    held = processes(config, trainings)
    if config.search.rehearsal is not None:
        pretended = math.ceil(held * config.search.gpus_per_trial)
        return session(
            held,
            pretend_gpus=pretended,
            requests=requests,
            say=terminal.say,
            wait_minutes=config.cluster.wait_minutes,
        )
    minutes = config.cluster.wait_minutes
    return session(held, config.train.use_gpu, 0, requests, terminal.say, minutes)


def run_all(run: RunFolder, config: Config, terminal: Terminal, yes: bool = False) -> None:
    """Run every stage in order; complete ones are skipped. A rehearsal ends with the mix, or on a
    cluster with a training that holds its GPUs. `yes`: doubts that the searches leave are no reason
    to stop."""
    asked = placement.of_run(config, on_cluster())
    if not on_cluster():
        build_data(run, config, terminal)
    with ray_session(config, terminal, *asked) as dashboard:
        from qsit_ray.stages.evaluate import evaluate_models
        from qsit_ray.stages.rehearsed_training import rehearse_training
        from qsit_ray.stages.train import train

        terminal.say(f"Ray dashboard: http://{dashboard}   log: {run.log}")
        if on_cluster():  # what a cluster lacks is known, and refused, before data is built
            build_data(run, config, terminal)
        find_mix(run, config, terminal, yes)
        if config.search.rehearsal is None:
            train(run, config, terminal)
            if config.has_benchmarks:
                evaluate_models(run, config, terminal)
        elif on_cluster():
            rehearse_training(run, config, terminal)
    from qsit_ray.report.page import build as report

    terminal.say(f"Write the report to {run.report}")
    report(run, config)


def find_mix(run: RunFolder, config: Config, terminal: Terminal, yes: bool = False) -> None:
    """Search and fit both axes, unless the mix is given, and train the final proxies.

    Raises InputError where the searches leave a doubt with which the run is not to go on; `yes`:
    it is.
    """
    from qsit_ray.stages.fit import fit_run
    from qsit_ray.stages.proxies import final_proxies
    from qsit_ray.stages.search import search_axis

    for axis in config.searches:
        search_axis(run, config, axis.name, terminal)
        terminal.say(f"{axis.name}: {fit_run(run, config)[axis.name].verdict}")
    if config.mix is None and config.search.rehearsal is None:
        check_doubts(run, config, terminal, yes)
    final_proxies(run, config, terminal)


def check_doubts(run: RunFolder, config: Config, terminal: Terminal, yes: bool = False) -> None:
    """Say which doubts the fitted searches leave. Raises InputError where the run is not to go on
    with them, unless its final proxies have been trained."""
    from qsit_ray.stages.fit import doubts
    from qsit_ray.stages.proxies import are_trained

    found = doubts(run, config)
    for line in found:
        terminal.say(f"doubt: {line}")
    wish = config.search.on_doubt
    if not found or yes or wish == "continue" or are_trained(run):
        return
    if wish == "ask" and terminal.confirm("Go on to the final proxies and the primary?"):
        return
    raise InputError(
        f"{run.path}: the searches leave a doubt (search.on_doubt: {wish}); --yes goes on, and "
        "more seeds or ratios extend them"
    )


def results(run: RunFolder) -> list[tuple[str, str]]:
    """The results that a run has so far: names and values as they are printed."""
    lines = []
    if run.mixture.exists():
        mix = FoundMix.read(run.mixture)
        mixed = " : ".join(f"{ratio:.3g}" for ratio in mix.ratios.values())
        lines.append((" : ".join(short_names(mix.ratios)), mixed))
        if mix.reference_loss_ratio is not None:
            spread = mix.reference_loss_ratio_error
            error = "" if spread is None else f" ± {spread:.3f}"
            lines.append(("reference loss ratio λ", f"{mix.reference_loss_ratio:.3f}{error}"))
    if epochs := read_epochs(run.epochs):
        last = epochs[-1]
        lines.append(("epochs trained", str(last.epoch + 1)))
        lines.append(("last loss ratio", f"{last.loss_ratio:.3f} ({last.verdict})"))
    if (run.evaluation / "llvisionqa.json").exists():
        lines.extend(_scores(run))
    return lines


def _scores(run: RunFolder) -> list[tuple[str, str]]:
    from qsit_ray.evaluation.iqa import IqaResult
    from qsit_ray.evaluation.llvisionqa import AnswerResult

    lines = []
    for model, datasets in artifacts.read_json(run.evaluation / "iqa.json").items():
        for dataset, content in datasets.items():
            scores = IqaResult.from_json(content)
            shown = _with_interval(scores.srcc, scores.intervals["srcc"])
            lines.append((f"{model}: SRCC on {dataset}", shown))
    guess = None
    for model, content in artifacts.read_json(run.evaluation / "llvisionqa.json").items():
        answers = AnswerResult.from_json(content)
        shown = _with_interval(answers.accuracy, answers.interval)
        lines.append((f"{model}: question accuracy", shown))
        guess = answers.random_guess  # of the questions, and so of every model
    return lines if guess is None else [*lines, ("random guess", f"{guess:.3f}")]


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.3f}" + (f"  [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
