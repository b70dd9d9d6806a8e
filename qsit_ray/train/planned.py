"""pure: the planned rows of an epoch as a table, and the time that steps waited for data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.data.catalog import read_sizes
from qsit_ray.errors import InputError
from qsit_ray.mixture import EpochPlan, plan_epoch
from qsit_ray.run_files import EpochLine, FoundMix, read_epochs
from qsit_ray.train.state import used_rows


def stall_fraction(lines: Sequence[EpochLine]) -> float | None:
    """The share of training time that steps waited for their batch; None without training time."""
    seconds = sum(line.timing["train_seconds"] for line in lines)
    stalled = sum(line.timing["stall_seconds"] for line in lines)
    return stalled / seconds if seconds else None


def plan_of(run: RunFolder, config: Config, epoch: int) -> EpochPlan:
    """The plan of one epoch, with the mixture of mixture.json, or of epochs.jsonl after the first.

    Raises InputError when there is no such epoch, when its mixture is not decided yet, or when it
    was trained on other rows, because the catalog or the seed has changed.
    """
    if epoch >= config.train.epochs:
        raise InputError(
            f"--epoch {epoch}: the run has epochs 0 to {config.train.epochs - 1} (train.epochs)"
        )
    if not run.mixture.exists():
        raise InputError(f"{run.mixture}: missing; the search comes first")
    lines = read_epochs(run.epochs)
    decided = [FoundMix.read(run.mixture).rows, *(line.next_sizes for line in lines)]
    mixture = decided[epoch] if epoch < len(decided) else None
    if mixture is None:
        raise InputError(
            f"--epoch {epoch}: not decided yet: {len(lines)} of {epoch} epochs before it have ended"
        )
    plan = plan_epoch(
        mixture,
        read_sizes(run.catalog),
        epoch,
        config.seed,
        config.train.training.batch_size,
        used_rows(config.train, [line.sizes for line in lines[:epoch]]),
    )
    if epoch < len(lines) and lines[epoch].plan_sha256 != plan.sha256:
        raise InputError(
            f"{run.epochs}: epoch {epoch} was trained on other rows; the catalog has changed since"
        )
    return plan


def write_plan(plan: EpochPlan, sizes: dict[str, int], path: Path) -> None:
    """Write a plan as parquet, in global order: step, position (in the step), row (of the catalog)
    and domain, its pool. `sizes`: the catalog's rows of each pool."""
    order = np.arange(len(plan.rows))
    ends = np.cumsum([*sizes.values()])
    domains = np.array([*sizes])[np.searchsorted(ends, plan.rows, side="right")]
    table = pa.table(
        {
            "step": order // plan.global_batch,
            "position": order % plan.global_batch,
            "row": plan.rows,
            "domain": domains,
        }
    )
    with artifacts.atomic(path) as temporary:
        pq.write_table(table, temporary)
