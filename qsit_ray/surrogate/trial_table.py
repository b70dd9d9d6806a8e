"""pure: anyone's table of runs, one row a run, read as observations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qsit_ray import tables
from qsit_ray.columns import Table
from qsit_ray.errors import InputError
from qsit_ray.surrogate.observations import Observations, observed


def read_observations(
    path: Path, ratio: str | None = None, score: str | None = None, repeat: str | None = None
) -> Observations:
    """Columns `ratio` and `score` of a csv, tsv, jsonl, json or parquet file; not given, they are
    those called so. A score that is missing, NaN or infinite is a run without one.

    Rows with the same ratio are repeats. With `repeat`, the column that numbers them (a seed), no
    ratio may have one twice. Raises InputError naming the file, and the row and column of a ratio
    that is missing or not positive, a score that is no number, and a repeat that stands twice.
    """
    table = tables.read(path)
    ratio = ratio or table.first_of("--ratio", ["ratio"])
    score = score or table.first_of("--score", ["score"])
    ratios, scores = table.numbers(ratio), table.sparse_numbers(score)
    wrong = np.flatnonzero(ratios <= 0)
    if wrong.size:
        row = int(wrong[0])
        raise InputError(
            f"{path}, {table.place(row)}, column {ratio!r}: ratio {ratios[row]:g} must be positive"
        )
    if repeat is not None:
        _check_repeats(table, ratios.tolist(), ratio, repeat)
    try:
        return observed(ratios, scores)
    except InputError as error:
        raise InputError(f"{path}, column {score!r}: {error}") from None


def _check_repeats(table: Table, ratios: list[float], ratio: str, repeat: str) -> None:
    first: dict[tuple[float, str], int] = {}
    for row, key in enumerate(zip(ratios, table.labels(repeat), strict=True)):
        if key in first:
            raise InputError(
                f"{table.path}, {table.place(first[key])} and {table.place(row)}: "
                f"{ratio} {key[0]:g} has {repeat} {key[1]} twice"
            )
        first[key] = row
