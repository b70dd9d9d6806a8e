"""rim: trainings of the primary by the command line, on copies of one run folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from benchmarks.pairs import QSIT, command
from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.mixture import Mixture
from qsit_ray.run_files import EpochLine, FoundMix, read_epochs
from qsit_ray.step_lines import StepLine, StepLog

RANKS = 2
FIRST = 10
"""Steps of an epoch that still wait for the start of its data."""


@dataclass(frozen=True)
class Trained:
    """The lines of a training's epochs and steps."""

    epochs: list[EpochLine]
    steps: list[StepLine]

    def seconds(self, epoch: int) -> float:
        """Of an epoch's steps, with the wait for their rows."""
        return self.epochs[epoch].timing["train_seconds"]

    def waits(self, epoch: int) -> float:
        """Seconds of an epoch in which its steps waited for their rows."""
        return self.epochs[epoch].timing["stall_seconds"]

    def losses(self, epoch: int) -> list[float]:
        return [step.loss for step in self.steps if step.epoch == epoch]

    def span(self, epoch: int) -> float:
        """Seconds from the first to the last step of an epoch, with checkpoints between them."""
        ((first, last),) = self.spans([epoch])
        return last - first

    def spans(self, epochs: Iterable[int]) -> list[tuple[float, float]]:
        """Seconds since 1970 of the first and the last step of these epochs."""
        times = [[_time(step) for step in self.steps if step.epoch == epoch] for epoch in epochs]
        return [(each[0], each[-1]) for each in times]

    def change(self, epoch: int) -> float:
        """Seconds from the last step of an epoch to the first rows of the next, and of the waits in
        its first steps for theirs, without the validation."""
        last = [step for step in self.steps if step.epoch == epoch][-1]
        first, *others = [step for step in self.steps if step.epoch == epoch + 1][:FIRST]
        apart = _time(first) - _time(last) - first.seconds + first.stall_seconds
        waits = sum(step.stall_seconds for step in others)
        return apart + waits - self.epochs[epoch].timing["validation_seconds"]


def trained(made: RunFolder, to: Path, rows: int, *settings: str) -> Trained:
    """Train a copy of `made` at `to`, on `rows` rows a domain, with these settings too."""
    from qsit_ray.run_config import opened
    from qsit_ray.stages.proxies import final_proxies
    from qsit_ray.terminal import Terminal

    shutil.copytree(made.path, to, symlinks=True)
    run = RunFolder(to)
    final_proxies(run, opened(run), Terminal())  # a given mix: nothing is trained
    mix = replace(FoundMix.read(run.mixture), rows=Mixture.of(rows, rows, rows))
    artifacts.write_json(run.mixture, mix.to_json())
    options = [word for setting in settings for word in ("--set", setting)]
    command([*QSIT, "train", "run", to, *options])
    return Trained(read_epochs(run.epochs), StepLog(run.steps).lines())


def _time(step: StepLine) -> float:
    return datetime.fromisoformat(step.time).timestamp()
