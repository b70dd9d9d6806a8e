"""pure: epochs and steps logged to MLflow and Weights & Biases, in addition to the run folder.

Rank 0 connects once and logs each line of epochs.jsonl and steps.jsonl; a training that resumes
after a failure continues the same run there. The trackers read credentials from their own
environment variables.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from qsit_ray.config.train import Mlflow, Tracker, Wandb
from qsit_ray.errors import InputError
from qsit_ray.losses import flat
from qsit_ray.run_files import EpochLine
from qsit_ray.step_lines import StepLine

Axis = Literal["epoch", "step"]
RUN_TAG = "qsit_run"
NOT_LOGGED = ("epoch", "planned", "consumed", "next_sizes")


def require(trackers: Sequence[Tracker]) -> None:
    """Raises InputError when the package of a tracker is not installed."""
    for tracker in trackers:
        name = "mlflow" if tracker.mlflow else "wandb"
        if find_spec(name) is None:
            raise InputError(
                f"train.trackers: {name} is not installed; pip install 'qsit_ray[{name}]'"
            )


def metrics(line: EpochLine) -> dict[str, float]:
    """The numbers of one line of epochs.jsonl; those of its parts as sizes/scoring and the like.

    Checksums are no measurements and are left out, and so is `next_sizes`, which the next line has.
    """
    values = flat(asdict(line))
    numbers = {name: value for name, value in values.items() if name not in NOT_LOGGED}
    for part in ("sizes", "timing"):
        numbers |= {f"{part}/{name}": value for name, value in values[part].items()}
    return {n: float(v) for n, v in numbers.items() if isinstance(v, (int, float))}


def step_metrics(line: StepLine) -> dict[str, float]:
    """The numbers of one line of steps.jsonl, as step/loss and the like."""
    values = {n: v for n, v in line.to_json().items() if n not in ("time", "epoch", "step")}
    return {f"step/{n}": float(v) for n, v in values.items() if isinstance(v, (int, float))}


class MlflowLog:
    def __init__(self, settings: Mlflow, key: str, parameters: Mapping[str, object]):
        self.client = import_module("mlflow.tracking").MlflowClient(settings.tracking_uri)
        experiment = self.client.get_experiment_by_name(settings.experiment)
        if experiment is None:
            number = self.client.create_experiment(settings.experiment)
        else:
            number = experiment.experiment_id
        known = self.client.search_runs([number], f"tags.{RUN_TAG} = '{key}'")
        if known:
            self.run = known[0].info.run_id
            self.client.update_run(self.run, status="RUNNING")
            return
        self.run = self.client.create_run(number, tags={RUN_TAG: key}, run_name=key).info.run_id
        for name, value in parameters.items():
            self.client.log_param(self.run, name, value)

    def log(self, values: Mapping[str, float], axis: Axis, number: int) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run, name, value, step=number)

    def close(self) -> None:
        self.client.set_terminated(self.run)


class WandbLog:
    def __init__(self, settings: Wandb, key: str, parameters: Mapping[str, object], folder: Path):
        self.run = import_module("wandb").init(
            project=settings.project,
            mode=settings.mode,
            id=key,
            name=key,
            resume="allow",
            config=dict(parameters),
            dir=str(folder),
        )
        # Its own counter takes one kind of number only, and never a smaller one.
        self.run.define_metric("*", step_metric="epoch")
        self.run.define_metric("step/*", step_metric="step")

    def log(self, values: Mapping[str, float], axis: Axis, number: int) -> None:
        self.run.log({**values, axis: number})

    def close(self) -> None:
        self.run.finish()


class Trackers:
    """All trackers of a run. One that fails later on is dropped with a warning, since the run
    folder has every line."""

    def __init__(self, logs: Sequence[MlflowLog | WandbLog]):
        self.logs = list(logs)

    def log(self, line: EpochLine) -> None:
        values = metrics(line)
        self._each(lambda log: log.log(values, "epoch", line.epoch))

    def log_step(self, line: StepLine, number: int) -> None:
        """`number`: of the step since the start of the training."""
        values = step_metrics(line)
        self._each(lambda log: log.log(values, "step", number))

    def close(self) -> None:
        self._each(lambda log: log.close())

    def _each(self, work: Callable[[MlflowLog | WandbLog], None]) -> None:
        for log in list(self.logs):
            try:
                work(log)
            except Exception as error:
                self.logs.remove(log)
                warnings.warn(f"{type(log).__name__}: no longer logged to: {error}", stacklevel=3)


def connect(
    trackers: Sequence[Tracker], key: str, parameters: Mapping[str, object], folder: Path
) -> Trackers:
    """Connect to every tracker; continue the run `key` where the tracker has it already.

    `parameters`: the run's settings, by dotted name. `folder`: for files that a tracker keeps
    locally. Raises InputError when a package is missing or a tracker does not answer.
    """
    require(trackers)
    logs: list[MlflowLog | WandbLog] = []
    for tracker in trackers:
        try:
            if tracker.mlflow:
                logs.append(MlflowLog(tracker.mlflow, key, parameters))
            elif tracker.wandb:
                logs.append(WandbLog(tracker.wandb, key, parameters, folder))
        except Exception as error:
            name = "mlflow" if tracker.mlflow else "wandb"
            raise InputError(f"train.trackers: {name} does not answer: {error}") from error
    return Trackers(logs)
