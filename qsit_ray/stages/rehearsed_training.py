"""rim: the primary of a rehearsal: a Ray Train run that holds the ranks' resources and waits.

train/rehearsal.json        the epochs that have ended
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ray.train import FailureConfig, LoggingConfig, RunConfig
from ray.train.torch import TorchConfig

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.section import meaning
from qsit_ray.data.catalog import read_sizes
from qsit_ray.mixture import plan_epoch
from qsit_ray.run_files import FoundMix
from qsit_ray.stages.train import Trainer, scaling, titled
from qsit_ray.terminal import Terminal


@dataclass(frozen=True)
class Rehearsed:
    """What the ranks need: steps of each epoch, seconds of a step, and the file of what ended."""

    steps: tuple[int, ...]
    seconds: float
    ended: Path

    def epochs(self) -> int:
        """Epochs that ended."""
        return int(artifacts.read_json(self.ended)) if self.ended.exists() else 0


def rehearse_training(run: RunFolder, config: Config, terminal: Terminal) -> None:
    """Hold the resources of the primary's ranks for as long as its planned rows would take, at
    `search.rehearsal.rows_per_second`. An interrupted rehearsal goes on with its next epoch."""
    train, pretended = config.train, config.search.rehearsal
    assert pretended is not None
    inputs = {
        "train": meaning(train),
        "mixture": artifacts.read_json(run.mixture),
        "rows_per_second": pretended.rows_per_second,
    }
    if run.is_complete("train", inputs):
        return
    sizes, rows = read_sizes(run.catalog), FoundMix.read(run.mixture).rows
    batch, key = train.training.batch_size, artifacts.digest(inputs)[:12]
    steps = tuple(
        -(-len(plan_epoch(rows, sizes, epoch, config.seed, batch).rows) // batch)
        for epoch in range(train.epochs)
    )
    ended = run.train / f"rehearsal-{key}.json"
    rehearsed = Rehearsed(steps, batch / pretended.rows_per_second, ended)
    with run.stage("train", inputs) as cost:
        how = RunConfig(
            name=f"rehearsal-{key}",
            storage_path=str(run.train),
            failure_config=FailureConfig(
                max_failures=train.max_failures, controller_failure_limit=3
            ),
            logging_config=LoggingConfig(log_level="WARNING"),
        )
        title = f"{run.path.name}: {config.models.primary}, rehearsed"
        terminal.say(f"Rehearse the primary: {train.workers} ranks, {sum(steps):,} steps ...")
        trainer = Trainer(
            partial(_hold, rehearsed),
            torch_config=TorchConfig(backend="gloo"),  # pretended GPUs know no NCCL
            # All of them: it has no checkpoints after which more could start.
            scaling_config=scaling(train.model_copy(update={"min_workers": None}), train.workers),
            run_config=titled(how, title),
        )
        trainer.fit()
        cost.device_seconds = train.workers * sum(steps) * rehearsed.seconds


def _hold(rehearsed: Rehearsed) -> None:
    """One rank: wait for the steps of each epoch that has not ended."""
    import ray.train
    from ray.train.collective import barrier

    for epoch in range(rehearsed.epochs(), len(rehearsed.steps)):
        time.sleep(rehearsed.steps[epoch] * rehearsed.seconds)
        barrier()
        if ray.train.get_context().get_world_rank() == 0:
            artifacts.write_json(rehearsed.ended, epoch + 1)
        barrier()  # a rank that starts again reads it
