"""pure: scores as files: a table whose format follows from its ending, what they depend on beside
it, and the rejects."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from qsit_ray import artifacts
from qsit_ray.errors import InputError
from qsit_ray.rating.results import Reject, Score

FORMATS = (".csv", ".jsonl", ".parquet")


def check_name(out: Path) -> None:
    """Raises InputError for an ending that is no format, and for a folder that is missing."""
    if out.suffix not in FORMATS:
        raise InputError(f"{out}: expected a name that ends in {', '.join(FORMATS)}")
    if not out.parent.is_dir():
        raise InputError(f"{out}: its folder is missing")
    if out.is_dir():
        raise InputError(f"{out}: a folder; expected a file's name")


def kept(out: Path, found: Iterable[Score | Reject]) -> list[Score | Reject]:
    """All that is found, each written to NAME.partial.jsonl as it comes: what stops a long job late
    loses nothing. The file goes when all is there."""
    partial, seen = beside(out, "partial.jsonl"), []
    with partial.open("w", encoding="utf-8") as file:
        for each in found:
            row = each.to_row() if isinstance(each, Score) else asdict(each)
            file.write(json.dumps(row) + "\n")
            file.flush()
            seen.append(each)
    partial.unlink()
    return seen


def write(
    out: Path, scores: Sequence[Score], rejects: Sequence[Reject], conditions: Mapping[str, Any]
) -> None:
    """Write `out`, and beside it NAME.conditions.json; NAME.rejects.jsonl where there are any."""
    rows = [score.to_row() for score in scores]
    with artifacts.atomic(out) as temporary:
        if out.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), temporary)
        else:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                if out.suffix == ".csv":
                    write_csv(file, rows)
                else:
                    file.writelines(json.dumps(row) + "\n" for row in rows)
    artifacts.write_json(beside(out, "conditions.json"), dict(conditions))
    rejected = beside(out, "rejects.jsonl")
    if rejects:
        with artifacts.atomic(rejected) as temporary:
            text = "".join(json.dumps(asdict(reject)) + "\n" for reject in rejects)
            temporary.write_text(text, encoding="utf-8")
    else:
        rejected.unlink(missing_ok=True)


def write_csv(file: TextIO, rows: Sequence[Mapping[str, Any]]) -> None:
    """A line for the columns, and one a row; nothing where there is none."""
    if rows:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def beside(out: Path, ending: str) -> Path:
    return out.with_name(f"{out.name}.{ending}")
