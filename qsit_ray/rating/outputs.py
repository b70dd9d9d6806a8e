"""pure: scores as files: a table whose format follows from its ending, what they depend on beside
it, and the rejects."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from qsit_ray import artifacts
from qsit_ray.errors import InputError
from qsit_ray.rating.results import Reject, Score

FORMATS = (".csv", ".jsonl", ".parquet")
PARTIAL = "partial.jsonl"


def check_name(out: Path, formats: Sequence[str] = FORMATS) -> None:
    """Raises InputError for an ending that is no format, and for a folder that is missing."""
    if out.suffix not in formats:
        raise InputError(f"{out}: expected a name that ends in {', '.join(formats)}")
    if not out.parent.is_dir():
        raise InputError(f"{out}: its folder is missing")
    if out.is_dir():
        raise InputError(f"{out}: a folder; expected a file's name")


def kept(out: Path, found: Iterable[Score | Reject]) -> list[Score | Reject]:
    """All that is found, each written to NAME.partial.jsonl as it comes: what stops a long job late
    loses nothing. `write` removes the file."""
    seen = []
    with beside(out, PARTIAL).open("w", encoding="utf-8") as file:
        for each in found:
            row = each.to_row() if isinstance(each, Score) else asdict(each)
            file.write(json.dumps(row) + "\n")
            file.flush()
            seen.append(each)
    return seen


def write(
    out: Path,
    words: Sequence[str],
    scores: Sequence[Score],
    rejects: Sequence[Reject],
    conditions: Mapping[str, Any],
) -> None:
    """Write `out`, with a column for each of the level `words`, and beside it
    NAME.conditions.json; NAME.rejects.jsonl where there are any."""
    rows = [score.to_row() for score in scores]
    if out.suffix == ".jsonl":
        artifacts.write_jsonl(out, rows)
    else:
        with artifacts.atomic(out) as temporary:
            if out.suffix == ".parquet":
                image, *numbers = columns(words)
                kinds = [(image, pa.string()), *((name, pa.float64()) for name in numbers)]
                pq.write_table(pa.Table.from_pylist(rows, pa.schema(kinds)), temporary)
            else:
                with temporary.open("w", encoding="utf-8", newline="") as file:
                    csv_writer(file, words).writerows(rows)
    artifacts.write_json(beside(out, "conditions.json"), dict(conditions))
    rejected = beside(out, "rejects.jsonl")
    if rejects:
        artifacts.write_jsonl(rejected, [asdict(reject) for reject in rejects])
    else:
        rejected.unlink(missing_ok=True)
    beside(out, PARTIAL).unlink(missing_ok=True)


def columns(words: Sequence[str]) -> list[str]:
    """The columns of scores with these level words."""
    numbers = [field.name for field in fields(Score) if field.name != "probabilities"]
    return [*numbers, *words]


def csv_writer(file: TextIO, words: Sequence[str]) -> csv.DictWriter[str]:
    """A writer of rows, whose line of columns is written."""
    writer = csv.DictWriter(file, columns(words), lineterminator="\n")
    writer.writeheader()
    return writer


def beside(out: Path, ending: str) -> Path:
    return out.with_name(f"{out.name}.{ending}")
