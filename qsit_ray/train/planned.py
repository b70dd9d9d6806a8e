"""pure: an epoch's rows as a table, and what a run's epochs came to: train plan and train show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.data.catalog import Catalog, open_catalog, read_sizes
from qsit_ray.errors import InputError
from qsit_ray.mixture import DOMAINS, EpochPlan, Mixture, plan_epoch

CHARACTERS_A_TOKEN = 4.0
# Rows of a domain whose images are looked at to tell what a row takes.
SAMPLE = 200


def epochs(run: RunFolder) -> list[dict[str, Any]]:
    """Lines of epochs.jsonl; none before the first epoch has ended."""
    return artifacts.read_jsonl(run.epochs) if run.epochs.exists() else []


def stall_fraction(lines: list[dict[str, Any]]) -> float | None:
    """The share of training time that steps waited for their batch; None before any."""
    seconds = sum(line["timing"]["train_seconds"] for line in lines)
    stalled = sum(line["timing"]["stall_seconds"] for line in lines)
    return stalled / seconds if seconds else None


def sizes_of(run: RunFolder, config: Config, epoch: int) -> Mixture:
    """The mixture of an epoch: from mixture.json, and from epochs.jsonl after the first.

    Raises InputError when there is no such epoch or it has not been decided yet.
    """
    if epoch >= config.train.epochs:
        raise InputError(
            f"--epoch {epoch}: the run has epochs 0 to {config.train.epochs - 1} (train.epochs)"
        )
    if epoch == 0:
        if not run.mixture.exists():
            raise InputError(f"{run.mixture}: missing; the search comes first")
        return Mixture(**artifacts.read_json(run.mixture)["rows"])
    lines = epochs(run)
    if len(lines) < epoch:
        raise InputError(
            f"--epoch {epoch}: not decided yet: {len(lines)} of {epoch} epochs before it have ended"
        )
    return Mixture(**lines[epoch - 1]["next_sizes"])


def plan_of(run: RunFolder, config: Config, epoch: int) -> EpochPlan:
    """The plan of one epoch of a run.

    Raises InputError as `sizes_of`, and when the epoch has been trained on other rows: the catalog
    or the seed is not what it was.
    """
    mixture = sizes_of(run, config, epoch)
    plan = plan_epoch(
        mixture, read_sizes(run.catalog), epoch, config.seed, config.train.training.batch_size
    )
    lines = epochs(run)
    if epoch < len(lines) and lines[epoch]["plan_sha256"] != plan.sha256:
        raise InputError(
            f"{run.epochs}: epoch {epoch} was trained on other rows; the catalog has changed since"
        )
    return plan


def write_plan(plan: EpochPlan, sizes: dict[str, int], path: Path) -> None:
    """Write a plan as parquet, in global order: step, position (in the step), row (of the catalog)
    and domain. `sizes`: the catalog's rows of each domain."""
    order = np.arange(len(plan.rows))
    ends = np.cumsum([sizes[domain] for domain in DOMAINS])
    domains = np.array(DOMAINS)[np.searchsorted(ends, plan.rows, side="right")]
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


def row_sizes(catalog: Catalog) -> dict[str, list[tuple[float, tuple[int, int] | None]]]:
    """Of rows spread evenly over each domain: tokens of text by its characters, and the image's
    (height, width), None without one. Image files are opened, not decoded."""
    found: dict[str, list[tuple[float, tuple[int, int] | None]]] = {}
    start = 0
    for domain in DOMAINS:
        count = catalog.sizes[domain]
        chosen = start + np.unique(np.linspace(0, count - 1, min(SAMPLE, count)).astype(int))
        found[domain] = list(_sizes(catalog, chosen.tolist()))
        start += count
    return found


def _sizes(catalog: Catalog, rows: list[int]) -> Iterator[tuple[float, tuple[int, int] | None]]:
    for row in catalog.take(rows):
        size = None
        if row["image"] is not None:
            path = catalog.folder / row["image"]
            try:
                with Image.open(path) as image:
                    size = (image.height, image.width)
            except (OSError, UnidentifiedImageError) as error:
                raise InputError(f"{path}: not a readable image ({error})") from None
        yield row["length"] / CHARACTERS_A_TOKEN, size


def catalog_rows(run: RunFolder) -> Catalog | None:
    """The run's catalog, if it has rows and not only their number."""
    return open_catalog(run.catalog) if (run.catalog / "rows.arrow").exists() else None
