"""rim: the fixed cost of a trial, in a reused process and in a fresh one.

Each way trains the same trials for one step, one after another. A trial's fixed cost is the time
from the end of the trial before (of the first: from the start of its process) to its first step.
Writes the section `fixed-cost` of docs/SEARCH.md.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from qsit_ray import pipeline
from qsit_ray.artifacts import RunFolder, read_jsonl
from qsit_ray.config.config import Config
from qsit_ray.config.files import override
from qsit_ray.evaluation.studies.sections import table, write_section
from qsit_ray.mixture import Mixture
from qsit_ray.run_config import opened
from qsit_ray.search.trial import Trial, TunePoint, point_of
from qsit_ray.search.trials import Task, Training
from qsit_ray.terminal import Terminal, quiet

REUSED, FRESH = "reused process", "fresh process, plain function"


@dataclass(frozen=True)
class Tick:
    """One line of a clock file: `event` (ready or end), and the times, in seconds, at which it
    happened and at which its process was started."""

    event: str
    at: float
    process: float


class Clocked(Trial):
    """A Trial that notes when it is ready to train and when it has ended."""

    def _start(self) -> Training:
        training = super()._start()
        note(self.task.folder, "ready")
        return training

    def step(self) -> dict[str, object]:
        result = super().step()
        if result["done"]:
            note(self.task.folder, "end")
        return result


def plain(config: dict[str, TunePoint], task: Task) -> None:
    """The same trial as a plain function that loads everything it needs."""
    from ray import tune

    from qsit_ray.search.training import Bench, ProxyTraining

    bench = Bench(task)
    training = ProxyTraining(bench, task.mixture_at(point_of(config)[0]), 0)
    note(task.folder, "ready")
    training.advance()
    tune.report({"score": training.result().accuracy})
    note(task.folder, "end")


def note(folder: Path, event: str) -> None:
    """Append a line to the folder's clock file."""
    tick = Tick(event, time.time(), psutil.Process().create_time())
    with (folder / "clock.jsonl").open("a") as clock:
        clock.write(json.dumps(asdict(tick)) + "\n")


def fixed_costs(clock: Sequence[Tick]) -> list[float]:
    """Seconds before each trial's first step, of trials that ran one after another."""
    costs, free = [], None
    for tick in clock:
        if tick.event == "ready":
            costs.append(tick.at - (tick.process if free is None else free))
        else:
            free = tick.at
    return costs


def measure(run: RunFolder, config: Config, trials: int) -> dict[str, list[float]]:
    """Fixed costs in seconds, {way: one per trial}."""
    from ray import tune  # late: the session has set Ray's environment by then

    short = ["search.max_steps=1", "search.evaluate_every=1", "search.patience=1"]
    points = [{"ratio": 1.0, "seed": seed} for seed in range(trials)]
    found = {}
    for way, trainable in ((REUSED, Clocked), (FRESH, plain)):
        with tempfile.TemporaryDirectory() as folder:
            task = Task(
                run,
                override(config, short),
                Path(folder),
                mixture_at=lambda ratio: Mixture.of(16, 16, 16),
                objective="interpreting",
            )
            tune.Tuner(
                tune.with_resources(tune.with_parameters(trainable, task=task), {"cpu": 1}),
                param_space={"point": tune.grid_search(points)},
                tune_config=tune.TuneConfig(reuse_actors=way == REUSED, max_concurrent_trials=1),
                run_config=tune.RunConfig(name="tune", storage_path=folder, verbose=0),
            ).fit()
            clock = read_jsonl(Path(folder) / "clock.jsonl")
            found[way] = fixed_costs([Tick(**tick) for tick in clock])
    return found


def costs_table(found: dict[str, list[float]]) -> str:
    """One row per way, {way: one cost per trial}, and the share of a fresh start's cost."""
    later = {way: sum(costs[1:]) / len(costs[1:]) for way, costs in found.items()}
    rows = [[way, f"{costs[0]:.2f}", f"{later[way]:.2f}"] for way, costs in found.items()]
    share = later[REUSED] / later[FRESH]
    text = table(["", "first trial, s", "later trials, mean s"], rows)
    return f"{text}\n\nA later trial's fixed cost is {share:.3f} of a fresh start's."


def write(run: Path, out: Path | None, trials: int) -> None:
    """Measure, and write the section of the page `out`; without one, print it."""
    folder = RunFolder(run.absolute())
    config = opened(folder)
    with quiet(folder.log) as terminal, pipeline.ray_session(config, terminal):
        text = costs_table(measure(folder, config, trials))
    if out is not None:
        write_section(out, "fixed-cost", text)
    else:
        Terminal().say(text)
