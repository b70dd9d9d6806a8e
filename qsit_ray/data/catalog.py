"""pure: the catalog: all training rows with stable numbers, validation rows and benchmarks.

rows.parquet, rows.arrow        training rows, domain after domain (the .arrow is memory-mapped)
validation.parquet              rows for validation losses
benchmarks/<split>/iqa.parquet  images with MOS
benchmarks/<split>/llvisionqa.json  questions in LLVisionQA's shape
images/                         what the rows refer to
manifest.json                   counts and hashes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from qsit_ray import artifacts
from qsit_ray.errors import InputError
from qsit_ray.mixture import DOMAINS

Row = dict[str, Any]

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("domain", pa.string()),
        ("image", pa.string()),
        ("conversation", pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))),
        ("mos", pa.float64()),
        ("level", pa.string()),
        ("photograph", pa.string()),
        # Characters of text: what rows of one global batch are grouped by.
        ("length", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Catalog:
    """A catalog folder, opened. Row number = position in `rows`."""

    folder: Path
    rows: pa.Table
    manifest: dict[str, Any]

    @property
    def sizes(self) -> dict[str, int]:
        """Training rows of each domain."""
        return self.manifest["rows"]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Characters of each row's text, shape [rows]."""
        return self.rows["length"].to_numpy()

    def check(self) -> None:
        """Raises InputError when there are more or fewer rows than the manifest counts."""
        counted = sum(self.sizes.values())
        if len(self.rows) != counted:
            raise InputError(
                f"{self.folder / 'rows.arrow'}: {len(self.rows)} rows, but manifest.json counts "
                f"{counted}; build the catalog again"
            )

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> list[Row]:
        return self.rows.take(pa.array(rows, pa.int64())).to_pylist()

    def validation(self, domain: str) -> list[Row]:
        rows = pq.read_table(self.folder / "validation.parquet").to_pylist()
        return [row for row in rows if row["domain"] == domain]

    def images(self, split: str) -> list[Row]:
        """{image, mos, photograph, …} of a split's IQA benchmark."""
        return pq.read_table(self.folder / "benchmarks" / split / "iqa.parquet").to_pylist()

    def all_images(self) -> list[str]:
        """Every image that a row or a benchmark refers to, once, in the catalog's order."""
        validation = pq.read_table(self.folder / "validation.parquet", columns=["image"])
        named = [*self.rows["image"].to_pylist(), *validation["image"].to_pylist()]
        for split in self.manifest["benchmarks"]:
            named += [row["image"] for row in self.images(split)]
            named += [question["img_path"] for question in self.questions(split)]
        return [image for image in dict.fromkeys(named) if image is not None]

    def questions(self, split: str) -> list[Row]:
        """A split's questions in LLVisionQA's shape."""
        return artifacts.read_json(self.folder / "benchmarks" / split / "llvisionqa.json")


@lru_cache(maxsize=2)
def open_catalog(folder: Path) -> Catalog:
    """The catalog of `folder`, memory-mapped once a process.

    Raises InputError naming the file that is missing or can't be read.
    """
    manifest = artifacts.read_json(folder / "manifest.json")
    try:
        rows = pa.ipc.open_file(pa.memory_map(str(folder / "rows.arrow"))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{folder / 'rows.arrow'}: can't read the catalog: {error}") from None
    return Catalog(folder, rows, manifest)


def write_counts(folder: Path, rows: Mapping[str, int]) -> None:
    """A catalog that counts rows and holds none: enough to plan with."""
    artifacts.write_json(folder / "manifest.json", {"rows": dict(rows)})


def read_sizes(folder: Path) -> dict[str, int]:
    """Training rows of each domain; needs nothing but the manifest."""
    return artifacts.read_json(folder / "manifest.json")["rows"]


def write(
    folder: Path,
    training: Sequence[Row],
    validation: Sequence[Row],
    images: Mapping[str, Sequence[Row]],
    questions: Mapping[str, Sequence[Row]],
) -> None:
    """Number the rows domain after domain and write the catalog into `folder`.

    Raises InputError when a domain has no training rows or a row names an unknown domain.
    """
    ordered = sorted(training, key=_domain_index)  # stable: order within a domain is kept
    counts = {domain: sum(row["domain"] == domain for row in ordered) for domain in DOMAINS}
    for domain, count in counts.items():
        if not count:
            raise InputError(f"{folder}: domain {domain} is empty; every domain needs rows")
    table = _table(ordered)
    pq.write_table(table, folder / "rows.parquet")
    with pa.OSFile(str(folder / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as file:
        file.write_table(table)
    pq.write_table(_table(sorted(validation, key=_domain_index)), folder / "validation.parquet")
    for split, rows in images.items():
        benchmark = folder / "benchmarks" / split
        benchmark.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(list(rows)), benchmark / "iqa.parquet")
        artifacts.write_json(benchmark / "llvisionqa.json", list(questions[split]))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    tables = [path for path in files if path.parent.name != "images"]
    artifacts.write_json(
        folder / "manifest.json",
        {
            "rows": counts,
            "validation": len(validation),
            "benchmarks": {
                split: {"images": len(images[split]), "questions": len(questions[split])}
                for split in images
            },
            "images": len(files) - len(tables),
            "sha256": {
                str(path.relative_to(folder)): artifacts.file_sha256(path) for path in tables
            },
        },
    )


def _domain_index(row: Row) -> int:
    if row["domain"] not in DOMAINS:
        raise InputError(f"row {row['id']}: domain {row['domain']!r}; expected one of {DOMAINS}")
    return DOMAINS.index(row["domain"])


def _table(rows: Sequence[Row]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {**row, "row": number, "length": sum(len(t["value"]) for t in row["conversation"])}
            for number, row in enumerate(rows)
        ],
        schema=SCHEMA,
    )
