"""rim: what Ray Data's tasks do: rows decoded and tokenised, in processes that are warm by then."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import ray
from ray._common.constants import RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR
from ray.train.v2._internal.constants import (
    DEFAULT_RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_VALUE,
    get_env_vars_to_propagate,
)

from qsit_ray.errors import InputError
from qsit_ray.train.state import Job

# More than feed a training worker; a large cluster has CPUs for other work too.
PROCESSES_A_WORKER = 8

WARNS = {
    RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR: DEFAULT_RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_VALUE
}


def encode(job: Job, row: dict[str, Any]) -> dict[str, Any]:
    """Decode, tokenise and pad one micro-batch of catalog rows; count the answers cut."""
    from qsit_ray.models.batch import pack

    rows = list(row["rows"])
    batches = _opened(job)
    batch = batches.of(rows)
    return {
        "step": row["step"],
        "rows": row["rows"],
        "batch": pack(batch),
        "cut": batches.cut(rows),
    }


def warm(job: Job, workers: int) -> None:
    """Have the processes of the data tasks load what encoding needs, which takes them seconds.

    Ray gives them to Ray Data afterwards; without this the first epoch waits. Raises InputError
    when the base checkpoint's processor does not fit its model.
    """
    free = int(ray.cluster_resources().get("CPU", 1)) - workers
    processes = max(1, min(free, PROCESSES_A_WORKER * workers))
    # Ray only passes a process on to a task of the same environment, and Ray Train has its own.
    environment = {"env_vars": {**WARNS, **get_env_vars_to_propagate()}}
    opened = ray.remote(num_cpus=1, runtime_env=environment)(_check)
    try:
        ray.get([opened.remote(job) for _ in range(processes)])
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None
        raise


def _check(job: Job) -> None:
    from qsit_ray.models.load import check_vocabulary

    check_vocabulary(_opened(job).encoder.processor, job.base)


def _opened(job: Job) -> Any:
    models = job.config.models
    return _batches(job.catalog, job.base, models.max_length, models.remember_features)


@lru_cache(maxsize=1)
def _batches(catalog: Path, base: str, max_length: int, keep: bool) -> Any:
    from qsit_ray.models import load
    from qsit_ray.models.batch import batches

    return batches(catalog, load.load_processor(base), max_length, keep)
