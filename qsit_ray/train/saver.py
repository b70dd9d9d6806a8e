"""rim: checkpoints through Ray Train while training continues, committed once all ranks wrote."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import ray
import ray.train
from ray.train import Checkpoint, CheckpointUploadMode

from qsit_ray import artifacts
from qsit_ray.losses import flat
from qsit_ray.train.checkpoint import Commit
from qsit_ray.train.elastic import TAG, convert
from qsit_ray.train.encoding import cpu_options
from qsit_ray.train.ranks import from_rank_zero, gather
from qsit_ray.train.state import Job, Measured, TrainState

if TYPE_CHECKING:
    from qsit_ray.train.engine import Engine

# Ranks that wait for rank 0 any longer would be taken for lost.
LOOK_SECONDS = 60.0


class Saver:
    """One rank's part of saving and restoring; every rank makes the same calls."""

    def __init__(self, job: Job, engine: Engine, rank: int):
        self.job, self.engine, self.rank = job, engine, rank
        self._pending: tuple[Commit, TrainState, threading.Event] | None = None

    def restore(self) -> None:
        """Load the engine's weights and optimiser from the last checkpoint. It is converted first
        if another number of ranks wrote it: how many there are now is known here and no earlier."""
        latest = self.job.checkpoints.latest()
        if latest is None:
            return
        state = TrainState.read(latest[1])
        if self.engine.converts(state.world_size):
            self._convert(latest[1])
        self.engine.load(latest[1], state.world_size)
        if self.rank == 0:
            self.job.checkpoints.tidy()
            # A kill between the commit and the writing of epochs.jsonl leaves one line too few.
            self._write_lines(state)

    def _convert(self, folder: Path) -> None:
        """Have a checkpoint converted for any number of ranks: by a task of rank 0, on a node that
        may encode, while the others wait."""
        task = None
        if self.rank == 0:
            options = cpu_options(self.job.config.train)
            task = ray.remote(**options)(convert).remote(folder, TAG)
        done, failed = False, None
        while not done:
            if task is not None and ray.wait([task], timeout=LOOK_SECONDS)[0]:
                done = True
                try:
                    ray.get(task)
                except Exception as error:  # each rank ends with it, and loads nothing
                    failed = str(error)
            done, failed = from_rank_zero((done, failed))
        if failed is not None:
            raise RuntimeError(failed)

    def save(self, state: TrainState, measured: Measured | None = None) -> None:
        """Write `state` and the engine's to local disk; Ray Train uploads them in the background.

        `measured` is the epoch's validation; None inside an epoch.
        """
        self.settle(wait=True)
        name = f"epoch_{state.epoch:04d}_step_{state.step:06d}_{self.job.session[-8:]}"
        # Below the working directory, which Ray clears away with the worker, after a kill too.
        folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
        self.engine.save(folder)
        if self.rank == 0:
            state.write(folder)
        written = threading.Event()
        storage = ray.train.get_context().get_storage()

        def upload(checkpoint: Checkpoint, name: str) -> Checkpoint:
            stored = storage.persist_current_checkpoint(checkpoint, name)
            written.set()
            return stored

        loss, metrics = None, {}
        if measured is not None:
            loss = sum(measured.losses.values()) / len(measured.losses)
            metrics = flat(asdict(measured))
        ray.train.report(
            {"epoch": state.epoch, "step": state.step, **metrics},
            checkpoint=Checkpoint.from_directory(str(folder)),
            checkpoint_dir_name=name,
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
            delete_local_checkpoint_after_upload=True,
            checkpoint_upload_fn=upload,
        )
        self._pending = Commit(name, state.epoch, state.step, loss), state, written

    def settle(self, wait: bool = False) -> None:
        """Commit the pending checkpoint if all ranks have written theirs; `wait` until they have.

        Only then is a checkpoint valid, so epochs.jsonl never has a line that no checkpoint holds.
        """
        if self._pending is None:
            return
        commit, state, written = self._pending
        if wait:
            written.wait()
        if all(gather(written.is_set())):
            if self.rank == 0:
                self.job.checkpoints.commit(commit, self.job.session)
                self._write_lines(state)
            self._pending = None

    def _write_lines(self, state: TrainState) -> None:
        if state.lines:
            lines = [line.to_json() for line in self.job.written(state)]
            artifacts.write_jsonl(self.job.run.epochs, lines)
