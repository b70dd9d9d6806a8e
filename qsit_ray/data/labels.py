"""pure: labels of images: the one table that the readers of the databases fill.

Columns: id, image (below the root folder), mos, std, votes, split, reference, attributes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qsit_ray import artifacts, tables
from qsit_ray.errors import InputError

NO_ATTRIBUTES: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Label:
    """An image with what people said of it.

    `image`: path below the database's folder. `mos` and `std` are on the database's scale; images
    without scores have neither. `votes`: shares of the five levels from bad to excellent, where
    the votes are known. `split`: the owners' training, validation or test. `reference`: the
    pristine image, or whatever is the same in several rows and must not be in two splits.
    """

    id: str
    image: str
    mos: float | None = None
    std: float | None = None
    votes: tuple[float, ...] | None = None
    split: str | None = None
    reference: str | None = None
    attributes: Mapping[str, float] = field(default_factory=lambda: NO_ATTRIBUTES)


@dataclass(frozen=True)
class Labels:
    """The labels of one database. `low` and `high` are the ends of its scale; `lower_better`: its
    scores are DMOS, and fall with quality."""

    dataset: str
    rows: Sequence[Label]
    low: float | None = None
    high: float | None = None
    lower_better: bool = False

    def check(self, folder: Path) -> None:
        """Raises InputError for no row, an id that occurs twice, a score that is not finite or
        outside the scale, and a deviation or votes that can't be."""
        if not self.rows:
            raise InputError(f"{folder}: no labels of {self.dataset}")
        seen: set[str] = set()
        for row in self.rows:
            if row.id in seen:
                raise InputError(f"{folder}: {row.id} occurs twice in {self.dataset}'s labels")
            seen.add(row.id)
            votes = row.votes or (1.0,)
            if row.std is not None and not (math.isfinite(row.std) and row.std >= 0):
                raise InputError(f"{folder}: {row.id} has the deviation {row.std:g}")
            if not all(math.isfinite(each) and each >= 0 for each in votes) or not sum(votes):
                raise InputError(f"{folder}: the votes of {row.id} are not counts")
            if row.mos is None:
                continue
            low = -math.inf if self.low is None else self.low
            high = math.inf if self.high is None else self.high
            if not (math.isfinite(row.mos) and low <= row.mos <= high):
                raise InputError(
                    f"{folder}: {row.id} has the score {row.mos:g}; {self.dataset}'s are from "
                    f"{low:g} to {high:g}"
                )


METADATA = b"qsit_ray"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.string()),
        ("mos", pa.float64()),
        ("std", pa.float64()),
        ("votes", pa.list_(pa.float64())),
        ("split", pa.string()),
        ("reference", pa.string()),
        ("attributes", pa.map_(pa.string(), pa.float64())),
    ]
)


def write(path: Path, labels: Labels) -> None:
    """Write labels as parquet; the scale is in the file's metadata.

    Raises InputError for another ending, or where the file can't be written.
    """
    if path.suffix != ".parquet":
        raise InputError(f"{path}: the ending must be .parquet")
    columns: dict[str, list[Any]] = {
        name: [getattr(row, name) for row in labels.rows] for name in SCHEMA.names
    }
    columns["attributes"] = [list(each.items()) for each in columns["attributes"]]
    metadata = {METADATA: json.dumps(_scale(labels))}
    table = pa.table(columns, schema=SCHEMA.with_metadata(metadata))
    try:
        with artifacts.atomic(path) as temporary:
            pq.write_table(table, temporary)
    except OSError as error:
        raise InputError(f"{path}: can't write it: {error}") from None


def _scale(labels: Labels) -> dict[str, Any]:
    names = [each.name for each in fields(Labels) if each.name != "rows"]
    return {name: getattr(labels, name) for name in names}


def read(path: Path) -> Labels | None:
    """The labels of a file that `write` wrote; None for any other parquet file.

    Raises InputError where it can't be read.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: can't read it: {error}") from None
    metadata = (table.schema.metadata or {}).get(METADATA)
    if metadata is None or table.schema.names != SCHEMA.names:
        return None
    rows = [
        Label(
            **{
                **row,
                "votes": None if row["votes"] is None else tuple(row["votes"]),
                "attributes": dict(row["attributes"] or ()),
            }
        )
        for row in table.to_pylist()
    ]
    return Labels(rows=rows, **json.loads(metadata))


def load(path: Path, image: str, mos: str, lower_better: bool) -> Labels:
    """The labels of a file of `write`, or of anyone's table with columns of images and scores. The
    data set is then called as the file is.

    Raises InputError for a table that can't be read or has a row without either.
    """
    known = read(path) if path.suffix == ".parquet" else None
    if known is not None and lower_better and not known.lower_better:
        raise InputError(f"{path}: {known.dataset}'s scores rise with quality; no --lower-better")
    if known is not None:
        return known
    table = tables.read(path)
    names, scores = table.ids(image), table.numbers(mos)
    rows = [Label(name, name, float(score)) for name, score in zip(names, scores, strict=True)]
    return Labels(path.stem, rows, lower_better=lower_better)
