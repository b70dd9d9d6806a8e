"""pure: epochs logged to MLflow and Weights & Biases, beside epochs.jsonl, which is always written.

Rank 0 connects once and logs each line of epochs.jsonl; a run that goes on after a failure goes on
in the same place there. Credentials are the trackers' own business, through their environment
variables.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from qsit_ray.config.train import Mlflow, Tracker, Wandb
from qsit_ray.errors import InputError

RUN_TAG = "qsit_run"


def require(trackers: Sequence[Tracker]) -> None:
    """Raises InputError when a tracker is asked for whose package is not installed."""
    for tracker in trackers:
        name = "mlflow" if tracker.mlflow else "wandb"
        if find_spec(name) is None:
            raise InputError(
                f"train.trackers: {name} is not installed; pip install 'qsit_ray[{name}]'"
            )


def metrics(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one line of epochs.jsonl; those of its parts as sizes/scoring and the like.

    Checksums are no measurements and stay out.
    """
    found: dict[str, float] = {}
    for key, value in line.items():
        if isinstance(value, Mapping):
            found |= {f"{key}/{name}": number for name, number in metrics(value).items()}
        elif isinstance(value, (int, float)) and key not in ("epoch", "planned", "consumed"):
            found[key] = float(value)
    return found


class Log(Protocol):
    """One place that epochs are logged to."""

    def log(self, values: Mapping[str, float], epoch: int) -> None: ...

    def close(self) -> None: ...


class Trackers:
    """All trackers of a run. One that fails later on is left out with a warning: training is worth
    more than its log, and epochs.jsonl has every line."""

    def __init__(self, logs: Sequence[Log]):
        self.logs = list(logs)

    def log(self, line: Mapping[str, Any]) -> None:
        """Log one line of epochs.jsonl; next_sizes belong to the next epoch and come with it."""
        values = metrics({key: value for key, value in line.items() if key != "next_sizes"})
        for log in list(self.logs):
            try:
                log.log(values, line["epoch"])
            except Exception as error:
                self.logs.remove(log)
                warnings.warn(f"{type(log).__name__}: no longer logged to: {error}", stacklevel=2)

    def close(self) -> None:
        for log in self.logs:
            log.close()


def connect(
    trackers: Sequence[Tracker], key: str, parameters: Mapping[str, Any], folder: Path
) -> Trackers:
    """Connect to every tracker, to the run `key` where it is already known there.

    `parameters`: settings to show beside the run, by dotted name. `folder`: for files that a
    tracker keeps locally. Raises InputError when a package is missing or a tracker does not answer.
    """
    require(trackers)
    logs: list[Log] = []
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


class MlflowLog:
    def __init__(self, settings: Mlflow, key: str, parameters: Mapping[str, Any]):
        self.client = import_module("mlflow.tracking").MlflowClient(settings.tracking_uri)
        experiment = self.client.get_experiment_by_name(settings.experiment)
        number = (
            experiment.experiment_id
            if experiment
            else self.client.create_experiment(settings.experiment)
        )
        known = self.client.search_runs([number], f"tags.{RUN_TAG} = '{key}'")
        if known:
            self.run = known[0].info.run_id
            self.client.update_run(self.run, status="RUNNING")
            return
        run = self.client.create_run(number, tags={RUN_TAG: key}, run_name=key)
        self.run = run.info.run_id
        for name, value in parameters.items():
            self.client.log_param(self.run, name, value)

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run, name, value, step=epoch)

    def close(self) -> None:
        self.client.set_terminated(self.run)


class WandbLog:
    def __init__(self, settings: Wandb, key: str, parameters: Mapping[str, Any], folder: Path):
        self.run = import_module("wandb").init(
            project=settings.project,
            mode=settings.mode,
            id=key,
            name=key,
            resume="allow",
            config=dict(parameters),
            dir=str(folder),
        )

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        self.run.log(dict(values), step=epoch)

    def close(self) -> None:
        self.run.finish()
