"""rim: the epoch's plan as a Ray Dataset, served from the position that the course actor holds.

Ray executes the trainer's Dataset again each epoch and asks `PlanSource` for its read tasks; the
source asks the named actor for the position of the training and lays out the rest of that epoch's
plan. One row of the Dataset is one micro-batch, in the order that gives rank r its share of each
global batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray.data import Dataset
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from qsit_ray.data.catalog import open_catalog
from qsit_ray.mixture import EpochPlan, Mixture, plan_epoch

NAMESPACE = "qsit_ray"
DataRow = dict[str, Any]
"""One row of the Dataset: `step` and `rows` of a micro-batch, and the keys that `encode` adds."""


@dataclass(frozen=True)
class Layout:
    """The catalog, the seed and the batch sizes, from which an epoch's plan and its micro-batches
    follow. The rows and their order don't depend on the batch sizes."""

    catalog: Path
    seed: int
    global_batch: int
    micro_batch: int

    def plan(self, mixture: Mixture, epoch: int) -> EpochPlan:
        sizes = open_catalog(self.catalog).sizes
        return plan_epoch(mixture, sizes, epoch, self.seed, self.global_batch)


class PlanSource(Datasource):
    """Read tasks, one for each micro-batch from the position of the actor `course` on."""

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
        plan = self.layout.plan(at.mixture, at.epoch)
        lengths = open_catalog(self.layout.catalog).lengths
        metadata = BlockMetadata(num_rows=1, size_bytes=None, input_files=None, exec_stats=None)
        return [
            ReadTask(_reader(step, rows.tolist()), metadata)
            for step in range(at.step, plan.steps)
            for accumulated in plan.micro_batches(
                step, at.world_size, self.layout.micro_batch, lengths
            )
            for rows in accumulated
        ]


def plan_dataset(course: str, layout: Layout, encode: Callable[[DataRow], DataRow]) -> Dataset:
    """The trainer's Dataset: plan, then `encode` on {"step", "rows"} of each micro-batch."""
    # An InputError of `encode` then keeps its type, and with it the row or file that it names.
    ray.data.DataContext.get_current().raise_original_map_exception = True
    # With one block requested, Ray never splits the blocks of a read task further.
    return ray.data.read_datasource(PlanSource(course, layout), override_num_blocks=1).map(encode)


def _reader(step: int, rows: list[int]) -> Callable[[], list[pa.Table]]:
    return lambda: [pa.table({"step": [step], "rows": pa.array([rows], pa.list_(pa.int64()))})]
