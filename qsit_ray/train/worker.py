"""rim: what each Ray Train worker runs: epochs of DeepSpeed steps over the planned rows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import ray
import ray.train

from qsit_ray.data.catalog import open_catalog
from qsit_ray.data.source import NAMESPACE, Layout
from qsit_ray.mixture import EpochPlan, checksum
from qsit_ray.train.bad_loss import BadBatch, BadLoss
from qsit_ray.train.deepspeed_config import accumulation
from qsit_ray.train.saver import Saver
from qsit_ray.train.state import Consumed, Job, Position, State, epoch_line
from qsit_ray.train.trackers import Trackers, connect


def train_loop(job: Job) -> None:
    """Train what the last checkpoint does not hold yet, then export the model.

    A bad loss ends it early; what it was is written down for the driver.
    """
    worker = Worker(job)
    try:
        worker.train()
    except BadLoss as bad:
        worker.report(bad)
    else:
        worker.engine.export(job.model_folder)


@dataclass(frozen=True)
class Served:
    """An epoch as the Dataset serves it to this rank, from `step` on; `skip` are steps to pass
    over."""

    plan: EpochPlan
    step: int
    skip: set[int]
    micro_batches: Iterator[dict[str, Any]]


class Worker:
    """One rank. `state` is the last that all ranks agree on; `own` is what this rank has trained
    since, and `skipped` what all have passed over."""

    def __init__(self, job: Job):
        from qsit_ray.train.engine import Engine

        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.job, self.settings = job, job.config.train
        latest = job.checkpoints.latest()
        state = State.read(latest[1]) if latest else State()
        self.state = replace(state, world_size=self.world_size)
        training = self.settings.training
        self.layout = Layout(
            job.catalog, job.config.seed, training.batch_size, self.settings.micro_batch
        )
        self.course = ray.get_actor(job.course, namespace=NAMESPACE)
        self.dataset = ray.train.get_dataset_shard("train")
        self.trackers = self._connected() if self.rank == 0 else Trackers([])
        # Rows are decoded while the model is loaded.
        self.served = self._serve() if self.state.epoch < self.settings.epochs else None
        self.engine = Engine(job, self.rank, self.world_size)
        self.saver = Saver(job, self.engine, self.rank)
        self.saver.restore()
        self.saved = time.monotonic()
        self.step = self.state.step
        self.group: list[dict[str, Any]] = []

    def train(self) -> None:
        while self.state.epoch < self.settings.epochs:
            self._epoch()
        self.saver.settle(wait=True)
        self.trackers.close()

    def _connected(self) -> Trackers:
        values = self.settings.model_dump(mode="json")
        parameters = {f"train.{name}": value for name, value in values.items()}
        folder = self.job.checkpoints.folder.parent
        return connect(self.settings.trackers, self.job.name, parameters, folder)

    def _serve(self) -> Served:
        """Have the Dataset serve the epoch at hand; the first micro-batches are on their way."""
        from qsit_ray.train.ranks import from_rank_zero

        at: Position = from_rank_zero(self._begin())
        bad = self.job.bad_batches.skipped() if self.rank == 0 else None
        skip = {batch.step for batch in from_rank_zero(bad) if batch.epoch == at.epoch}
        ahead = 2 * accumulation(self.settings, self.world_size)
        micro_batches = iter(
            self.dataset.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=ahead)
        )
        # The Dataset starts when it is first asked.
        first = ThreadPoolExecutor(1).submit(next, micro_batches)

        def served() -> Iterator[dict[str, Any]]:
            yield first.result()
            yield from micro_batches

        return Served(self.layout.plan(at.mixture, at.epoch), at.step, skip, served())

    def _epoch(self) -> None:
        served, self.served = self.served or self._serve(), None
        plan = served.plan
        self.own, self.skipped, self.timing = Consumed(), Consumed(), dict(self.state.timing)
        for self.step in range(served.step, plan.steps):
            began = time.monotonic()
            self.group = list(islice(served.micro_batches, self.engine.accumulation))
            self._spend("stall_seconds", began)
            self._count(plan, self.step in served.skip)
            if self.step not in served.skip:
                packed = [micro["batch"][0] for micro in self.group]
                self.engine.step(packed, plan.epoch + (self.step + 1) / plan.steps)
            self._spend("train_seconds", began)
            self._show(plan)
            self.saver.settle()
            if self.step + 1 < plan.steps and self._due():
                self.saver.save(self._so_far(self.step + 1), {})
                self.saved = time.monotonic()
        next(served.micro_batches, None)  # lets the Dataset finish this execution
        self._close(plan)

    def _begin(self) -> Position | None:
        """The actor told where the training stands; no rank starts its Dataset before."""
        if self.rank != 0:
            return None
        state = self.state
        return ray.get(self.course.begin.remote(state.decisions, state.step, self.world_size))

    def _close(self, plan: EpochPlan) -> None:
        """Validate, decide the next mixture, and save."""
        from qsit_ray.train.ranks import from_rank_zero

        began = time.monotonic()
        measured = self.engine.validate()
        self._spend("validation_seconds", began)
        state = self._so_far(plan.steps)
        losses = [measured[f"loss_{task}"] for task in ("scoring", "interpreting")]
        ended = None
        if self.rank == 0:
            asked = self.course.decide.remote(state.decisions, plan.epoch, *losses)
            decision, decisions = ray.get(asked)
            last = plan.epoch == self.settings.epochs - 1
            line = epoch_line(plan, state, decision, measured, self.job.reference_loss_ratio, last)
            self.trackers.log(line)
            ended = line, decisions
        line, decisions = from_rank_zero(ended)
        self.state = State([*state.lines, line], decisions, world_size=self.world_size)
        self.saver.save(self.state, measured, loss=sum(losses) / 2)
        self.saved = time.monotonic()

    def _so_far(self, step: int) -> State:
        """The state after `step` steps of the epoch: the ranks' parts added up."""
        from qsit_ray.train.ranks import gather

        consumed = replace(self.state.consumed)
        for part in gather(self.own):
            consumed.add(part.checksum, part.rows, part.cut)
        skipped = replace(self.state.skipped)
        skipped.add(self.skipped.checksum, self.skipped.rows)
        return replace(
            self.state, step=step, consumed=consumed, skipped=skipped, timing=dict(self.timing)
        )

    def _due(self) -> bool:
        """Whether it is time to save; every rank hears rank 0's clock."""
        from qsit_ray.train.ranks import from_rank_zero

        steps, minutes = self.settings.checkpoint_steps, self.settings.checkpoint_minutes
        if steps is not None and (self.step + 1) % steps == 0:
            return True
        if minutes is None:
            return False
        return from_rank_zero(time.monotonic() - self.saved >= 60 * minutes)

    def _count(self, plan: EpochPlan, skip: bool) -> None:
        """Count this rank's rows of the step, or everybody's where all pass over it.

        Raises RuntimeError when the Dataset served another step than the plan's next.
        """
        served = [int(micro["step"][0]) for micro in self.group]
        if served != [self.step] * self.engine.accumulation:
            raise RuntimeError(f"step {self.step}: the Dataset served micro-batches of {served}")
        if skip:
            rows = plan.step_rows(self.step)
            rows = rows[rows >= 0]
            self.skipped.add(checksum(np.full_like(rows, self.step), rows), len(rows))
            return
        for micro in self.group:
            rows = _rows(micro)
            hashed = checksum(np.full_like(rows, self.step), rows)
            self.own.add(hashed, len(rows), int(micro["cut"][0]))

    def _show(self, plan: EpochPlan) -> None:
        if self.rank == 0:
            before = sum(line["rows_planned"] for line in self.state.lines)
            here = min((self.step + 1) * plan.global_batch, len(plan.rows))
            ahead = (self.settings.epochs - plan.epoch) * len(plan.rows)
            self.course.show.remote(before + here, before + ahead)

    def _spend(self, what: str, since: float) -> None:
        self.timing[what] = round(self.timing.get(what, 0.0) + time.monotonic() - since, 3)

    def report(self, bad: BadLoss) -> None:
        """Write down which rows are suspected: those of the ranks' bad micro-batches."""
        from qsit_ray.train.ranks import gather

        self.saver.settle(wait=True)
        own = [row for index in bad.suspects for row in _rows(self.group[index]).tolist()]
        rows = sorted(row for part in gather(own) for row in part)
        if self.rank == 0:
            ids = [row["id"] for row in open_catalog(self.job.catalog).take(rows)]
            at = self.state.epoch, self.step
            self.job.bad_batches.meet(BadBatch(*at, str(bad.loss), rows, ids))


def _rows(micro: dict[str, Any]) -> np.ndarray:
    """Catalog rows of a micro-batch, without padding."""
    rows = np.asarray(micro["rows"][0], dtype=np.int64)
    return rows[rows >= 0]
