"""rim: the epoch's plan as a Ray Dataset, served from the position that the course actor holds.

Ray executes the trainer's Dataset again each epoch and asks `PlanSource` for its read tasks; the
source asks the named actor for the position of the training and lays out the rest of that epoch's
plan. One row of the Dataset is one micro-batch, and one block, in the order that gives rank r its
share of each global batch. One read task lists all micro-batches, and tasks encode them, each
starting as soon as its own are listed. The first micro-batches have a task each, so that all
processes work on those that are awaited; later tasks encode several small ones, since Ray takes as
long for a task as a small micro-batch does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray
from ray.data import Dataset
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from qsit_ray.artifacts import RunFolder
from qsit_ray.data.catalog import open_catalog
from qsit_ray.data.micro_batches import Bounds, MicroBatches, micro_batches
from qsit_ray.data.tokens import RowTokens, read_tokens
from qsit_ray.mixture import PADDING, EpochPlan, Mixture, plan_epoch

NAMESPACE = "qsit_ray"
DataRow = dict[str, Any]
"""One row of the Dataset: `step` and `rows` of a micro-batch, and the keys that `encode` adds."""
ALONE = 32
"""Micro-batches of an epoch with a task each."""
TOGETHER, TOKENS = 8, 32_768
"""Most micro-batches of a later task, and the most tokens of several."""


@dataclass(frozen=True)
class Layout:
    """The run's catalog and token counts, the seed and the batch sizes, from which an epoch's plan
    and its micro-batches follow. The rows and their order don't depend on `bounds`, those of a
    micro-batch."""

    run: RunFolder
    seed: int
    global_batch: int
    bounds: Bounds

    def plan(
        self, mixture: Mixture, epoch: int, used: Mapping[str, int] = MappingProxyType({})
    ) -> EpochPlan:
        sizes = open_catalog(self.run.catalog).sizes
        return plan_epoch(mixture, sizes, epoch, self.seed, self.global_batch, used)

    def counted(self, rows: NDArray[np.int64]) -> tuple[int, int]:
        """Tokens and image tiles of catalog rows."""
        counted = _counted(self.run)
        return int(counted.tokens[rows].sum()), int(counted.tiles[rows].sum())

    def micro_batches(self, plan: EpochPlan, step: int, world_size: int) -> MicroBatches:
        """The catalog rows of a step's micro-batches, by [accumulation step][rank]."""
        counted = _counted(self.run)
        rows = plan.step_rows(step)
        return micro_batches(rows, counted.tokens, counted.tiles, world_size, self.bounds)


@lru_cache(maxsize=1)
def _counted(run: RunFolder) -> RowTokens:
    return read_tokens(run, "primary")


class PlanSource(Datasource):
    """One read task, of the micro-batches from the position of the actor `course` on."""

    def __init__(self, course: str, layout: Layout):
        super().__init__()
        self.course = course
        self.layout = layout

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        actor = ray.get_actor(self.course, namespace=NAMESPACE)
        at = ray.get(actor.position.remote())
        metadata = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        plan = partial(self.layout.plan, at.mixture, at.epoch, at.used)
        tables = partial(_tables, self.layout, plan, at.step, at.world_size)
        return [ReadTask(tables, metadata)]


def plan_dataset(course: str, layout: Layout, encode: Callable[[DataRow], DataRow]) -> Dataset:
    """The trainer's Dataset: plan, then `encode` on {"step", "rows"} of each micro-batch."""
    context = ray.data.DataContext.get_current()
    # An InputError of `encode` then keeps its type, and with it the row or file that it names.
    context.raise_original_map_exception = True
    # In bytes: Ray closes a block at the first row that reaches it, so each row is a block.
    context.target_max_block_size = 1
    # Without a CPU and alone of its kind, the read task stays apart from the encoding, which Ray
    # would otherwise join to it, and takes nothing from the encoding's share of the CPUs.
    micro_batches = ray.data.read_datasource(
        PlanSource(course, layout),
        override_num_blocks=1,
        concurrency=1,
        num_cpus=0,
    )
    return micro_batches.flat_map(partial(_encoded, encode))


def _encoded(encode: Callable[[DataRow], DataRow], listed: DataRow) -> Iterator[DataRow]:
    """A row for each micro-batch that was listed for one task."""
    for step, rows in zip(listed["steps"], listed["rows"], strict=True):
        yield encode({"step": step, "rows": rows})


def _tables(
    layout: Layout, epoch: Callable[[], EpochPlan], first: int, world_size: int
) -> Iterator[pa.Table]:
    """A table of one row for each task: the micro-batches of the epoch from step `first` on."""
    plan = epoch()  # here, in the task: it is long
    listed = (
        (step, rows)
        for step in range(first, plan.steps)
        for ranks in layout.micro_batches(plan, step, world_size)
        for rows in ranks
    )
    held: list[tuple[int, list[int]]] = []
    tasks = tokens = 0
    for step, rows in listed:
        more, _ = layout.counted(rows[rows != PADDING])
        full = tasks < ALONE or len(held) == TOGETHER or tokens + more > TOKENS
        if held and full:
            yield _task(held)
            held, tasks, tokens = [], tasks + 1, 0
        held.append((step, rows.tolist()))
        tokens += more
    if held:
        yield _task(held)


def _task(micro_batches: list[tuple[int, list[int]]]) -> pa.Table:
    """The one row that a task gets."""
    steps, rows = zip(*micro_batches, strict=True)
    return pa.table(
        {
            "steps": pa.array([steps], pa.list_(pa.int64())),
            "rows": pa.array([rows], pa.list_(pa.list_(pa.int64()))),
        }
    )
