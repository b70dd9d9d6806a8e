"""rim: what a trial costs beside its training, in a reused process and in a fresh one.

    python -m evaluation.studies.trial_cost RUN [--trials 5] [--out docs/SEARCH.md]

RUN is a run folder whose data stands. Each way trains the same trials for one step, one after
another; a trial's fixed cost is the time from the end of the one before (for the first: from the
start of its process) to its first step.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from evaluation.studies.sections import write_section
from qsit_ray import pipeline
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.files import override
from qsit_ray.mixture import Mixture
from qsit_ray.models.base import base_checkpoint
from qsit_ray.search.trial import Task, Trial
from qsit_ray.terminal import Terminal, quiet

REUSED, FRESH = "reused process", "fresh process, plain function"


class Clocked(Trial):
    """A Trial that notes when it is ready to train and when it has ended."""

    def _begin(self) -> None:
        super()._begin()
        note(self.task.folder, "ready")

    def step(self) -> dict[str, Any]:
        result = super().step()
        if result["done"]:
            note(self.task.folder, "end")
        return result


def plain(config: dict[str, Any], task: Task) -> None:
    """The same trial as most would write it: a function that loads all it needs."""
    from ray import tune

    from qsit_ray.search.training import Bench, ProxyTraining

    bench = Bench(task.config, task.catalog, task.base, task.features)
    training = ProxyTraining(bench, task.mixture_at(config["point"]["ratio"]), 0)
    note(task.folder, "ready")
    training.advance()
    tune.report({"score": training.result()["accuracy"]})
    note(task.folder, "end")


def note(folder: Path, what: str) -> None:
    """One line in the folder's clock: what happened, when, and when the process was started."""
    line = {"what": what, "at": time.time(), "process": psutil.Process().create_time()}
    with (folder / "clock.jsonl").open("a") as clock:
        clock.write(json.dumps(line) + "\n")


def fixed_costs(clock: Sequence[dict[str, Any]]) -> list[float]:
    """Seconds before each trial's first step, of trials that ran one after another."""
    costs, free = [], None
    for line in clock:
        if line["what"] == "ready":
            costs.append(line["at"] - (line["process"] if free is None else free))
        else:
            free = line["at"]
    return costs


def measure(run: RunFolder, config: Config, trials: int) -> dict[str, list[float]]:
    """Fixed costs in seconds of each way's trials."""
    from ray import tune  # late: the session has set Ray's environment by then

    short = ["search.max_steps=1", "search.evaluate_every=1", "search.patience=1"]
    found = {}
    for way in (REUSED, FRESH):
        with tempfile.TemporaryDirectory() as folder:
            task = Task(
                config=override(config, short),
                catalog=run.catalog,
                features=run.features,
                base=base_checkpoint(config, "proxy"),
                folder=Path(folder),
                mixture_at=lambda ratio: Mixture(16, 16, 16),
                objective="interpreting",
            )
            trainable = Clocked if way == REUSED else plain
            tune.Tuner(
                tune.with_resources(tune.with_parameters(trainable, task=task), {"cpu": 1}),
                param_space={
                    "point": tune.grid_search([{"ratio": 1.0, "seed": n} for n in range(trials)])
                },
                tune_config=tune.TuneConfig(reuse_actors=way == REUSED, max_concurrent_trials=1),
                run_config=tune.RunConfig(name="tune", storage_path=folder, verbose=0),
            ).fit()
            clock = (Path(folder) / "clock.jsonl").read_text().splitlines()
            found[way] = fixed_costs([json.loads(line) for line in clock])
    return found


def table(found: dict[str, list[float]]) -> str:
    later = {way: sum(costs[1:]) / len(costs[1:]) for way, costs in found.items()}
    lines = ["| | first trial, s | later trials, mean s |", "|---|---|---|"]
    lines += [f"| {way} | {costs[0]:.2f} | {later[way]:.2f} |" for way, costs in found.items()]
    share = later[REUSED] / later[FRESH]
    return "\n".join(lines) + f"\n\nA later trial's fixed cost is {share:.3f} of a fresh start's."


def main(
    run: Annotated[Path, typer.Argument(help="A run folder whose data stands.")],
    trials: Annotated[int, typer.Option(min=2)] = 5,
    out: Annotated[Path | None, typer.Option(help="The page to write the section into.")] = None,
) -> None:
    """Measure the fixed cost of trials and print it, or write it into a page."""
    folder = RunFolder(run.absolute())
    config = pipeline.opened(folder)
    with quiet(folder.log), pipeline.ray_session(config):
        text = table(measure(folder, config, trials))
    if out is not None:
        write_section(out, "fixed-cost", text)
    else:
        Terminal().say(text)


if __name__ == "__main__":
    typer.run(main)
