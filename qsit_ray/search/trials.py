"""pure: a search's grid points, its objective, and the table of its trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qsit_ray import artifacts
from qsit_ray.errors import InputError
from qsit_ray.mixture import Axis, Mixture, mixture_on_axis
from qsit_ray.search.records import point_name, wasted_seconds

SCHEMA = pa.schema(
    [
        ("ratio", pa.float64()),
        ("seed", pa.int64()),
        ("rows_scoring", pa.int64()),
        ("rows_interpreting", pa.int64()),
        ("rows_general", pa.int64()),
        ("score", pa.float64()),
        ("loss_scoring", pa.float64()),
        ("loss_interpreting", pa.float64()),
        ("accuracy", pa.float64()),
        ("srcc", pa.float64()),
        ("plcc", pa.float64()),
        ("steps", pa.int64()),
        ("best_step", pa.int64()),
        ("stopped", pa.string()),
        ("device_seconds", pa.float64()),
        ("plan_sha256", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)


def mixture_at(
    axis: Axis,
    ratio: float,
    sizes: Mapping[str, int],
    ratio_general: float | None,
    max_repeats: int,
) -> Mixture:
    """The mixture of one ratio.

    Raises InputError naming the axis, also for one that uses its rows more than `max_repeats`
    times an epoch.
    """
    try:
        mixture = mixture_on_axis(axis, ratio, sizes, ratio_general)
    except ValueError as error:
        raise InputError(f"search {axis}: {error}") from None
    for domain, rows in mixture.counts().items():
        if rows > max_repeats * sizes[domain]:
            raise InputError(
                f"search {axis}: ratio {ratio:g} asks for {rows} rows of {domain}, which has "
                f"{sizes[domain]}; search.max_repeats allows {max_repeats} uses of each"
            )
    return mixture


def mixtures(
    axis: Axis,
    ratios: Iterable[float],
    sizes: Mapping[str, int],
    ratio_general: float | None,
    max_repeats: int,
) -> dict[float, Mixture]:
    """The mixture of each ratio. Errors as `mixture_at`."""
    return {ratio: mixture_at(axis, ratio, sizes, ratio_general, max_repeats) for ratio in ratios}


def objective(name: str, metrics: Mapping[str, Any]) -> float | None:
    """What a trial is judged by, higher is better; None where a correlation is undefined.

    `interpreting`: accuracy on validation questions (paper IV-B). `both`: mean of that accuracy
    and (SRCC + PLCC) / 2 on validation images (paper III-C).
    """
    if name == "interpreting":
        return metrics["accuracy"]
    if metrics["srcc"] is None or metrics["plcc"] is None:
        return None
    return (metrics["accuracy"] + (metrics["srcc"] + metrics["plcc"]) / 2) / 2


def write_trials(
    path: Path,
    points: Sequence[tuple[float, int]],
    outcomes: Mapping[tuple[float, int], Mapping[str, Any]],
    reasons: Mapping[tuple[float, int], str],
    rows: Mapping[float, Mixture],
) -> list[dict[str, Any]]:
    """Write one row a grid point to `path` and a .csv beside it; return the rows.

    A point without an outcome is `failed`, with its metrics null and the reason.
    """
    table = []
    for ratio, seed in points:
        outcome = outcomes.get((ratio, seed))
        if outcome is None:
            counts = {f"rows_{domain}": n for domain, n in rows[ratio].counts().items()}
            row = {"ratio": ratio, "seed": seed, **counts, "status": "failed"}
            row["reason"] = reasons.get((ratio, seed), "no result")
        else:
            row = {**outcome, "status": "completed", "reason": None}
        table.append({name: row.get(name) for name in SCHEMA.names})
    arrow = pa.Table.from_pylist(table, schema=SCHEMA)
    with artifacts.atomic(path) as temporary:
        pq.write_table(arrow, temporary)
    with artifacts.atomic(path.with_suffix(".csv")) as temporary:
        arrow.to_pandas().to_csv(temporary, index=False)
    return table


def read_trials(path: Path) -> list[dict[str, Any]]:
    try:
        return pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: can't read the trials: {error}") from None


def trial_costs(folder: Path, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What the trials of the search in `folder` cost; `rows` are those of trials.parquet.

    `used`: device seconds of trials that completed. `wasted`: of attempts that failed or were
    killed, since their last checkpoint.
    """
    table = list(rows)
    # A last attempt without a word is lost where its trial failed. Else it may run now, or was
    # killed after it had left its outcome.
    unsaid = {point_name(r["ratio"], r["seed"]) for r in table if r["status"] != "failed"}
    lost = wasted_seconds(folder, unsaid)
    by_trial = [
        {
            "ratio": row["ratio"],
            "seed": row["seed"],
            "status": row["status"],
            "used": row.get("device_seconds") or 0.0,
            "wasted": lost.get(point_name(row["ratio"], row["seed"]), 0.0),
        }
        for row in table
    ]
    used = sum(trial["used"] for trial in by_trial)
    return {
        "completed": sum(trial["status"] == "completed" for trial in by_trial),
        "failed": sum(trial["status"] == "failed" for trial in by_trial),
        "device_seconds": used,
        "used": used,
        "wasted": sum(trial["wasted"] for trial in by_trial),
        "by_trial": by_trial,
    }
