"""rim: a run folder's life: opened with its configuration, then stage after stage."""

from __future__ import annotations

import math
import subprocess
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import files
from qsit_ray.config.config import Config
from qsit_ray.errors import InputError
from qsit_ray.mixture import AXES, DOMAINS
from qsit_ray.session import check_machine, cores, processes, session
from qsit_ray.terminal import Terminal

MADE_WITH = "made_with"
PACKAGES = ("qsit_ray", "ray", "torch", "transformers", "deepspeed", "numpy", "scipy", "pyarrow")


def create(run: RunFolder, config: Config) -> None:
    """Write the run's config.yaml, or check that it already holds this configuration.

    Raises InputError when the folder was made by another configuration.
    """
    if run.config.exists():
        changed = files.difference(opened(run), config)
        if changed:
            raise InputError(
                f"{run.config}: made with another configuration ({', '.join(changed[:5])} "
                "differ); use another --out or the same settings"
            )
        return
    check_machine(config, run.path, cores())
    made_with = {"versions": {name: version(name) for name in PACKAGES}, "git": _revision()}
    artifacts.write_text(
        run.config, files.dump(config) + yaml.safe_dump({MADE_WITH: made_with}, sort_keys=False)
    )


def opened(run: RunFolder) -> Config:
    """The configuration that a run folder was made with.

    Raises InputError when there is no run or its config.yaml can't be read.
    """
    if not run.config.exists():
        raise InputError(f"{run.path}: no run here (config.yaml is missing)")
    values = files.read_yaml(run.config)
    if isinstance(values, dict):
        values.pop(MADE_WITH, None)
    return files.parse(values, str(run.config))


def build_data(run: RunFolder, config: Config, terminal: Terminal) -> None:
    """The catalog, base models where the demo makes its own, and features that are shared."""
    from qsit_ray.stages.base_models import prepare, share_features
    from qsit_ray.stages.catalog import build

    build(run, config, terminal)
    if config.search.rehearsal is not None:
        return
    prepare(run, config, terminal)
    share_features(run, config, terminal)


def search_next(run: RunFolder, config: Config, terminal: Terminal) -> str | None:
    """Run the search that comes next: a missing axis, or the final proxies once both are fitted.

    Returns what was run; None when all of it stands.
    """
    from qsit_ray.stages.proxies import final_proxies
    from qsit_ray.stages.search import search_axis, search_inputs

    for axis in AXES if config.mix is None else ():
        if not run.is_complete(f"search {axis}", search_inputs(run, config, axis)):
            search_axis(run, config, axis, terminal)
            return axis
    return "final proxies" if final_proxies(run, config, terminal) else None


def ray_session(config: Config) -> AbstractContextManager[str]:
    """The Ray session that the configuration's stages need."""
    held = processes(config, cores())
    if config.search.rehearsal is not None:
        return session(held, pretend_gpus=math.ceil(held * config.search.gpus_per_trial))
    return session(held, config.train.use_gpu)


def run_all(run: RunFolder, config: Config, terminal: Terminal) -> None:
    """Every stage in order; what stands already is skipped. A rehearsal ends with the mix."""
    build_data(run, config, terminal)
    with ray_session(config) as dashboard:
        from qsit_ray.stages.evaluate import evaluate
        from qsit_ray.stages.fit import fit_run
        from qsit_ray.stages.proxies import final_proxies
        from qsit_ray.stages.search import search_axis
        from qsit_ray.stages.train import train

        terminal.say(f"Ray dashboard: http://{dashboard}   log: {run.log}")
        for axis in AXES if config.mix is None else ():
            search_axis(run, config, axis, terminal)
            terminal.say(f"{axis}: {fit_run(run, config)[axis]['verdict']}")
        final_proxies(run, config, terminal)
        if config.search.rehearsal is None:
            train(run, config, terminal)
            evaluate(run, config, terminal)
    from qsit_ray.report.page import build as report

    report(run, config)


def results(run: RunFolder) -> list[tuple[str, str]]:
    """What a run has found so far, as (name, value) lines."""
    lines = []
    if run.mixture.exists():
        mix = artifacts.read_json(run.mixture)
        shown = " : ".join(f"{mix[domain]:.3g}" for domain in DOMAINS)
        lines.append(("D1 : D2 : D3", shown))
        if mix["reference_loss_ratio"] is not None:
            lines.append(("reference loss ratio λ", f"{mix['reference_loss_ratio']:.3f}"))
    if run.epochs.exists():
        last = artifacts.read_jsonl(run.epochs)[-1]
        lines.append(("epochs trained", str(last["epoch"] + 1)))
        lines.append(("last loss ratio", f"{last['loss_ratio']:.3f} ({last['verdict']})"))
    if (run.evaluation / "llvisionqa.json").exists():
        lines.extend(_scores(run))
    return lines


def _scores(run: RunFolder) -> list[tuple[str, str]]:
    iqa = artifacts.read_json(run.evaluation / "iqa.json")
    answers = artifacts.read_json(run.evaluation / "llvisionqa.json")
    lines = []
    for model, datasets in iqa.items():
        for dataset, scores in datasets.items():
            lines.append((f"{model}: SRCC on {dataset}", _interval(scores, "srcc")))
    for model, scores in answers.items():
        lines.append((f"{model}: question accuracy", _interval(scores, "accuracy")))
    guess = next(iter(answers.values()))["random_guess"]
    if guess is not None:
        lines.append(("random guess", f"{guess:.3f}"))
    return lines


def _interval(scores: dict[str, Any], name: str) -> str:
    if scores[name] is None:
        return "undefined"
    interval = scores.get("interval") or scores.get("intervals", {}).get(name)
    around = f"  [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
    return f"{scores[name]:.3f}{around}"


def _revision() -> str | None:
    """The git revision of the source tree, if it is one."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
