"""rim: the encoding of catalog rows in Ray Data's tasks, in processes warmed up before."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray._common.constants import RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR
from ray.train.v2._internal.constants import (
    DEFAULT_RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_VALUE,
    get_env_vars_to_propagate,
)

from qsit_ray.config.train import Train
from qsit_ray.data.micro_batches import Bounds
from qsit_ray.data.source import DataRow, Layout
from qsit_ray.placement import cpu_task
from qsit_ray.session import labels_of, on_cluster
from qsit_ray.train.state import Job

if TYPE_CHECKING:
    from qsit_ray.models.batch import Batches
    from qsit_ray.prompts import Profile

# Enough to feed one training worker; the rest of a large cluster's CPUs stay free for other work.
PROCESSES_A_WORKER = 8

WARNS = {
    RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR: DEFAULT_RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_VALUE
}


def layout(job: Job) -> Layout:
    train = job.config.train
    bounds = Bounds(train.micro_batch, train.micro_tokens)
    return Layout(job.run, job.config.seed, train.training.batch_size, bounds)


def encode(job: Job, row: DataRow) -> DataRow:
    """Decode, tokenise and pad one micro-batch of catalog rows; count the answers cut."""
    from qsit_ray.models.batch import pack

    rows = list(row["rows"])
    batches = _batches_of(job)
    packed = pack(batches.of(rows))
    return {"step": row["step"], "rows": row["rows"], "batch": packed, "cut": batches.cut(rows)}


def cpu_options(train: Train) -> dict[str, Any]:
    """Options of a Ray task that takes no GPU."""
    request = cpu_task(train)
    return {"num_cpus": request.resources["CPU"], "label_selector": labels_of(request)}


def warm_up(job: Job, workers: int) -> None:
    """Import the libraries in the processes of the data tasks, which takes each of them seconds.

    Ray passes these processes on to Ray Data; otherwise the first epoch would wait. On a cluster
    one process checks only, since the nodes of the data tasks may come with the ranks. Raises
    InputError when the base checkpoint's processor does not fit its model.
    """
    free = 1 if on_cluster() else int(ray.cluster_resources().get("CPU", 1)) - workers
    processes = max(1, min(free, PROCESSES_A_WORKER * workers))
    # Ray only passes a process on to a task of the same environment, and Ray Train has its own.
    environment = {"env_vars": {**WARNS, **get_env_vars_to_propagate()}}
    options = cpu_options(job.config.train)
    check = ray.remote(runtime_env=environment, **options)(_check)
    ray.get([check.remote(job) for _ in range(processes)])


def _check(job: Job) -> None:
    from qsit_ray.models.load import check_vocabulary

    check_vocabulary(_batches_of(job).encoder.processor, job.base, job.config.profile)


def _batches_of(job: Job) -> Batches:
    models = job.config.models
    kept, opinions = models.remember_features, job.config.opinions
    return _batches(job.run.catalog, job.base, models.max_length, kept, opinions)


@lru_cache(maxsize=1)
def _batches(
    catalog: Path, base: str, max_length: int, keep: bool, opinions: Profile | None
) -> Batches:
    from qsit_ray.models import load
    from qsit_ray.models.batch import Batches

    return Batches(catalog, load.load_processor(base), max_length, keep, opinions)
