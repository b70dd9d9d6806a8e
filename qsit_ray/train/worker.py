"""rim: one rank of the training: epochs of DeepSpeed steps over the planned rows.

Who waits for whom. "<=>" and "==>" are collective calls, in which all ranks wait for each other:

    driver        course actor      rank 0         other ranks      data tasks
      |--- position -->|              |                 |               |
      |--- start -------------------->|---------------->|               |
      |                |<- position --|                 |               |  each epoch: rank 0 for
      |                |-- stored --->|                 |               |  the actor, the others
      |                |              |=== position ===>|               |  for rank 0; then the
      |                |<--------------- position? ---------------------|  Dataset for the actor
      |                |              |                 |<- its rows ---|  each step: each rank
      |                |              |<- its rows --------------------|  for its micro-batches,
      |                |              |<= loss, norm ==>|               |  all for the slowest
      |<-- progress file -------------|                 |               |  (nobody waits for it)
      |                |              |<= all written =>|               |  each epoch's end: a
      |                |              |<= validation ==>|               |  checkpoint, then all
      |                |              |=== the line ===>|               |  for rank 0's decision
      |                |              |<= all written =>|               |  each checkpoint, then
      |                |              | committed.json  |               |  rank 0 alone commits
      |                |<-- the line -|                 |               |  and tells the actor
      |<-- end -----------------------|-----------------|               |

The driver waits for the trainer only. The actor waits for nobody and may die at any time: rank 0
sets its position again at each epoch and each start, and an empty actor serves nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice

import numpy as np
import ray
import ray.train
from numpy.typing import NDArray

from qsit_ray import artifacts
from qsit_ray.data.catalog import open_catalog
from qsit_ray.data.source import NAMESPACE, DataRow, Layout
from qsit_ray.mixture import PADDING, EpochPlan, checksum
from qsit_ray.step_lines import StepLine, StepLog
from qsit_ray.train.bad_loss import BadBatch, BadLoss
from qsit_ray.train.encoding import layout
from qsit_ray.train.gauges import StepGauges
from qsit_ray.train.notices import Notices
from qsit_ray.train.ranks import from_rank_zero, gather
from qsit_ray.train.saver import Saver
from qsit_ray.train.state import Consumed, Job, TrainState
from qsit_ray.train.trackers import Trackers, connect


def train_loop(job: Job) -> None:
    """Train everything after the last checkpoint, then export the model.

    A bad loss ends it early and is recorded for the driver.
    """
    worker = Worker(job)
    try:
        worker.train()
    except BadLoss as bad:
        worker.record(bad)
    else:
        worker.engine.export(job.run.model)


@dataclass(frozen=True)
class MicroBatch:
    """One row of the Dataset: catalog rows, the `packed` batch, answers cut."""

    step: int
    padded: NDArray[np.int64]
    packed: bytes
    cut: int

    @classmethod
    def of(cls, row: DataRow) -> MicroBatch:
        padded = np.asarray(row["rows"][0], dtype=np.int64)
        return cls(int(row["step"][0]), padded, row["batch"][0], int(row["cut"][0]))

    @property
    def rows(self) -> NDArray[np.int64]:
        return self.padded[self.padded != PADDING]


@dataclass(frozen=True)
class Served:
    """An epoch as the Dataset serves it to this rank, from `step` on, and the steps to skip."""

    layout: Layout
    plan: EpochPlan
    step: int
    skip: set[int]
    micro_batches: Iterator[MicroBatch]


class Worker:
    """One rank. `state` is the last state that all ranks agree on. Since then this rank has trained
    `own`, and all ranks together have skipped `skipped`."""

    def __init__(self, job: Job):
        from qsit_ray.train.engine import Engine
        from qsit_ray.train.rehearsal import rehearse

        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.job, self.settings = job, job.config.train
        latest = job.checkpoints.latest()
        state = TrainState.read(latest[1]) if latest else TrainState()
        self.state = replace(state, world_size=self.world_size)
        self.course = ray.get_actor(job.course, namespace=NAMESPACE)
        self.dataset = ray.train.get_dataset_shard("train")
        self.trackers = Trackers([])
        if self.rank == 0:
            values = self.settings.model_dump(mode="json")
            parameters = {f"train.{name}": value for name, value in values.items()}
            self.trackers = connect(self.settings.trackers, job.name, parameters, job.run.train)
        # Before the model, so that the first rows are decoded while it is loaded.
        self.served = self._serve() if self.state.epoch < self.settings.epochs else None
        self.engine = Engine(job, self.rank, self.world_size)
        self.saver = Saver(job, self.engine, self.rank)
        self.saver.restore()
        self.work = self.engine.work()
        self.gauges = StepGauges(job.run.path.name, job.name)
        self.log = StepLog(job.run.steps)
        if self.rank == 0:
            self.log.rewind(self.state.epoch, self.state.step)
        if latest is None:
            rehearse(self.engine, job)
        self.saved, self.noticed = time.monotonic(), Notices()
        self.step = self.state.step
        self.group: list[MicroBatch] = []

    def train(self) -> None:
        while self.state.epoch < self.settings.epochs:
            self._train_epoch()
        self.saver.settle(wait=True)
        self.trackers.close()

    def record(self, bad: BadLoss) -> None:
        """Write the catalog rows of all ranks' suspected micro-batches for the driver."""
        self.saver.settle(wait=True)
        own = [row for index in bad.suspects for row in self.group[index].rows.tolist()]
        rows = sorted(row for part in gather(own) for row in part)
        if self.rank == 0:
            ids = [row["id"] for row in open_catalog(self.job.run.catalog).take(rows)]
            batch = BadBatch(self.state.epoch, self.step, str(bad.loss), rows, ids)
            self.job.bad_batches.record(batch)

    def _serve(self) -> Served:
        """Start the Dataset for the next epoch; its first micro-batches are prepared from now on.

        Rank 0 waits until the actor has the position, and the broadcast holds the other ranks
        until then: a Dataset that started earlier would serve the epoch before.
        """
        at, bad = None, None
        if self.rank == 0:
            at = self.job.position(self.state)
            ray.get(self.course.move_to.remote(at))
            bad = self.job.bad_batches.skipped()
        at = from_rank_zero(at)
        skip = {batch.step for batch in from_rank_zero(bad) if batch.epoch == at.epoch}
        laid_out = layout(self.job)
        plan = laid_out.plan(at.mixture, at.epoch, at.used)
        if at.step == plan.steps:
            return Served(laid_out, plan, at.step, skip, iter(()))
        # Two global batches, about.
        ahead = 2 * len(laid_out.micro_batches(plan, at.step, self.world_size))
        rows = iter(
            self.dataset.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=ahead)
        )
        # The Dataset starts at the first request; a thread makes it, since it blocks.
        first = ThreadPoolExecutor(1).submit(next, rows)

        def served() -> Iterator[MicroBatch]:
            yield MicroBatch.of(first.result())
            yield from map(MicroBatch.of, rows)

        return Served(laid_out, plan, at.step, skip, served())

    def _train_epoch(self) -> None:
        served, self.served = self.served or self._serve(), None
        plan = served.plan
        self.own, self.skipped, self.timing = Consumed(), Consumed(), dict(self.state.timing)
        for self.step in range(served.step, plan.steps):
            began = time.monotonic()
            self._take_group(served)
            self._add_seconds("stall_seconds", began)
            self._count(plan, self.step in served.skip)
            if self.step not in served.skip:
                self._take_step(served, began)
            self._add_seconds("train_seconds", began)
            self._report_progress(plan)
            # Every rank calls this after every step: it is collective while an upload is pending.
            self.saver.settle()
            if self.step + 1 < plan.steps and self._is_save_due():
                self.saver.save(self._state_after(self.step + 1))
                self.saved = time.monotonic()
        # Read to its end: Ray starts the next execution only when this one is finished.
        next(served.micro_batches, None)
        self._end_epoch(plan)

    def _take_step(self, served: Served, began: float) -> None:
        """Train the step's rows and log its line; `began`: before the wait for them."""
        plan, stalled = served.plan, time.monotonic() - began
        catalog = open_catalog(self.job.run.catalog)
        domains = [catalog.domains(micro.padded) for micro in self.group]
        done = plan.epoch + (self.step + 1) / plan.steps
        step = self.engine.step([micro.packed for micro in self.group], domains, done)
        peak_memory, peak = self.engine.peak_memory(), self.engine.peak_flops()
        if self.rank != 0:
            return
        rows, seconds = plan.step_rows(self.step), time.monotonic() - began
        tokens, tiles = served.layout.counted(rows)
        line = StepLine(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            epoch=plan.epoch,
            step=self.step,
            loss=step.loss,
            losses=dict(zip(catalog.sizes, step.losses, strict=True)),
            gradient_norm=step.gradient_norm,
            rate=step.rate,
            rows=len(rows),
            tokens=tokens,
            seconds=round(seconds, 4),
            stall_seconds=round(stalled, 4),
            mfu=self.work.mfu(tokens, tiles, seconds, peak),
            peak_memory_gib=peak_memory,
            ranks=self.world_size,
        )
        self.log.append(line)
        self.gauges.set(line)
        self.trackers.log_step(line, self.state.steps_before(plan.global_batch) + self.step)

    def _end_epoch(self, plan: EpochPlan) -> None:
        """Save, validate, decide the next mixture, and save again."""
        state = self._state_after(plan.steps)
        if self.state.step < plan.steps:
            # Committed before the validation, whose end by an error must not cost the epoch.
            self.saver.save(state)
            self.saver.settle(wait=True)
        began = time.monotonic()
        measured = self.engine.validate()
        self._add_seconds("validation_seconds", began)
        state = replace(state, timing=dict(self.timing))
        ended = None
        if self.rank == 0:
            decision = self.job.controller(state.decisions).observe(plan.epoch, measured.losses)
            line = self.job.line(plan, state, decision, measured)
            self.trackers.log(line)
            ended = line, decision
        # Sent, not computed by each rank: the line has rank 0's seconds.
        line, decision = from_rank_zero(ended)
        self.state = TrainState(
            [*state.lines, line], (*state.decisions, decision), world_size=self.world_size
        )
        self.saver.save(self.state, measured)
        self.saved = time.monotonic()
        if self.rank == 0:
            ray.get(self.course.end_epoch.remote(line))

    def _state_after(self, step: int) -> TrainState:
        """The state after `step` steps of the epoch: the ranks' rows added up."""
        return replace(
            self.state,
            step=step,
            consumed=sum(gather(self.own), self.state.consumed),
            # Not gathered: each rank has counted the rows of all.
            skipped=self.state.skipped + self.skipped,
            timing=dict(self.timing),
        )

    def _is_save_due(self) -> bool:
        """True where a save follows this step; all ranks follow rank 0's clock and notice."""
        steps, minutes = self.settings.checkpoint_steps, self.settings.checkpoint_minutes
        if steps is not None and (self.step + 1) % steps == 0:
            return True
        if minutes is None and not self.noticed.possible:
            return False
        overdue = minutes is not None and time.monotonic() - self.saved >= 60 * minutes
        overdue, ask = from_rank_zero((overdue, self.noticed.is_due()))
        return (ask and self.noticed.is_new()) or overdue

    def _take_group(self, served: Served) -> None:
        """Wait for this rank's micro-batches of the step.

        Raises RuntimeError when the Dataset served others than the plan's next.
        """
        divided = served.layout.micro_batches(served.plan, self.step, self.world_size)
        own = [(self.step, ranks[self.rank].tolist()) for ranks in divided]
        self.group = list(islice(served.micro_batches, len(own)))
        got = [(micro.step, micro.rows.tolist()) for micro in self.group]
        if got != [(step, [row for row in rows if row != PADDING]) for step, rows in own]:
            raise RuntimeError(f"step {self.step}: the Dataset served {got}; planned: {own}")

    def _count(self, plan: EpochPlan, skip: bool) -> None:
        """Count this rank's rows of the step, or those of all ranks where the step is skipped."""
        if skip:
            self.skipped += self._consumed(plan.step_rows(self.step))
            return
        for micro in self.group:
            self.own += self._consumed(micro.rows, micro.cut)

    def _consumed(self, rows: NDArray[np.int64], cut: int = 0) -> Consumed:
        return Consumed(checksum(np.full_like(rows, self.step), rows), len(rows), cut)

    def _report_progress(self, plan: EpochPlan) -> None:
        """Rows trained, rows of the whole run if later epochs were as large as this one, ranks."""
        if self.rank == 0:
            before = sum(line.rows_planned for line in self.state.lines)
            done = min((self.step + 1) * plan.global_batch, len(plan.rows))
            ahead = (self.settings.epochs - plan.epoch) * len(plan.rows)
            figures = [before + done, before + ahead, self.world_size]
            artifacts.write_json(self.job.progress_file, figures)

    def _add_seconds(self, name: str, since: float) -> None:
        self.timing[name] = round(self.timing.get(name, 0.0) + time.monotonic() - since, 3)
