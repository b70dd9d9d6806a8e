"""rim: checkpoints through Ray Train while training goes on, each noted once all ranks wrote it."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
from ray.train import Checkpoint, CheckpointUploadMode

from qsit_ray import artifacts
from qsit_ray.train.checkpoint import Commit
from qsit_ray.train.state import Job, State


@dataclass
class _Waiting:
    commit: Commit
    state: State
    written: threading.Event


class Saver:
    """One rank's part of saving and restoring; every rank makes the same calls."""

    def __init__(self, job: Job, engine: Any, rank: int):
        self.job, self.engine, self.rank = job, engine, rank
        self._waiting: _Waiting | None = None

    def restore(self) -> None:
        """Bring the engine's weights and optimiser to the last checkpoint."""
        latest = self.job.checkpoints.latest()
        if latest is None:
            return
        state = State.read(latest[1])
        self.engine.load(latest[1], state.world_size)
        if self.rank == 0:
            self.job.checkpoints.tidy()
            self._record(state)  # a kill between the commit and this leaves one line too few

    def save(self, state: State, metrics: dict[str, Any], loss: float | None = None) -> None:
        """Write `state`, and what the engine holds, to local disk; Ray Train carries it on."""
        self.settle(wait=True)
        name = f"epoch_{state.epoch:04d}_step_{state.step:06d}_{self.job.session[-8:]}"
        # Below the working directory, which is Ray's own: what a kill leaves there goes with it.
        folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
        self.engine.save(folder)
        if self.rank == 0:
            state.write(folder)
        written = threading.Event()
        storage = ray.train.get_context().get_storage()

        def carry(checkpoint: Checkpoint, name: str) -> Checkpoint:
            stored = storage.persist_current_checkpoint(checkpoint, name)
            written.set()
            return stored

        ray.train.report(
            {"epoch": state.epoch, "step": state.step, **metrics},
            checkpoint=Checkpoint.from_directory(str(folder)),
            checkpoint_dir_name=name,
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
            delete_local_checkpoint_after_upload=True,
            checkpoint_upload_fn=carry,
        )
        self._waiting = _Waiting(Commit(name, state.epoch, state.step, loss), state, written)

    def settle(self, wait: bool = False) -> None:
        """Note the checkpoint that is under way if it is whole by now; `wait` until it is."""
        if self._waiting is None:
            return
        from qsit_ray.train.ranks import gather

        if wait:
            self._waiting.written.wait()
        if all(gather(self._waiting.written.is_set())):
            if self.rank == 0:
                self.job.checkpoints.commit(self._waiting.commit, self.job.session)
                self._record(self._waiting.state)
            self._waiting = None

    def _record(self, state: State) -> None:
        if state.lines:
            artifacts.write_jsonl(self.job.epochs_file, state.lines)
