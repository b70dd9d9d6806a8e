"""pure: the catalog: all training rows with stable numbers, validation rows and benchmarks.

rows.parquet, rows.arrow        training rows, domain after domain (the .arrow is memory-mapped)
validation.parquet              rows for validation losses
benchmarks/<split>/iqa.parquet  images with MOS
benchmarks/<split>/llvisionqa.json  questions in LLVisionQA's shape
images/                         the demo's images; other rows name images elsewhere
manifest.json                   counts and hashes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from qsit_ray import artifacts
from qsit_ray.errors import InputError
from qsit_ray.mixture import DOMAINS

# Rows are read from and written to Arrow and JSON as plain dicts.
Turn = TypedDict("Turn", {"from": str, "value": str})


class CatalogRow(TypedDict):
    """A training or validation row. `image` is a path, absolute or relative to the catalog; scoring
    rows have `mos` and `level`. The catalog adds the number `row` and `length`, in characters."""

    row: NotRequired[int]
    id: str
    domain: str
    image: str | None
    conversation: list[Turn]
    mos: float | None
    level: str | None
    photograph: str | None
    length: NotRequired[int]


class BenchmarkImage(TypedDict):
    """An image of an IQA benchmark; the demo adds its distortion, other sources the dataset."""

    image: str
    mos: float
    photograph: str | None
    dataset: NotRequired[str]
    distortion: NotRequired[str]
    severity: NotRequired[int]


class Question(TypedDict):
    """A closed question in LLVisionQA's shape; `type` and `concern` are its numbers."""

    type: NotRequired[int]
    concern: NotRequired[int]
    question: str
    img_path: str
    candidates: list[str]
    correct_ans: str
    photograph: str


class Reject(TypedDict):
    """A record of a file that is not a row: its number, from 1, and the reason."""

    file: str
    record: int
    reason: str


@dataclass
class Content:
    """The rows of a data source; `images` and `questions` are by split."""

    train: list[CatalogRow] = field(default_factory=list)
    validation: list[CatalogRow] = field(default_factory=list)
    images: dict[str, list[BenchmarkImage]] = field(default_factory=dict)
    questions: dict[str, list[Question]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)


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
        # Characters of text: rows of one global batch are grouped by it.
        ("length", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Manifest:
    """manifest.json; a catalog that only counts rows has `rows` alone.

    `rows`: training rows by domain. `benchmarks`: number of images and of questions by split.
    `images`: files in images/. `sha256`: of every other file, by path.
    """

    rows: dict[str, int]
    validation: int = 0
    benchmarks: dict[str, dict[str, int]] = field(default_factory=dict)
    images: int = 0
    sha256: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a catalog folder. Raises InputError naming a file that can't be read."""
        path = folder / "manifest.json"
        try:
            return cls(**artifacts.read_json(path))
        except TypeError as error:
            raise InputError(f"{path}: not a catalog's manifest: {error}") from None


@dataclass(frozen=True)
class Catalog:
    """A catalog folder, opened. Row number = position in `rows`."""

    folder: Path
    rows: pa.Table
    manifest: Manifest

    @property
    def sizes(self) -> dict[str, int]:
        """Training rows of each domain."""
        return self.manifest.rows

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Characters of each row's text, shape [rows]."""
        return np.asarray(self.rows["length"].to_numpy())

    def check(self) -> None:
        """Raises InputError when there are more or fewer rows than the manifest counts."""
        counted = sum(self.sizes.values())
        if len(self.rows) != counted:
            raise InputError(
                f"{self.folder / 'rows.arrow'}: {len(self.rows)} rows, but manifest.json counts "
                f"{counted}; build the catalog again"
            )

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> list[CatalogRow]:
        """Training rows by number."""
        taken: list[CatalogRow] = self.rows.take(pa.array(rows, pa.int64())).to_pylist()
        return taken

    def validation(self, domain: str) -> list[CatalogRow]:
        """The validation rows of a domain."""
        rows = pq.read_table(self.folder / "validation.parquet").to_pylist()
        return [row for row in rows if row["domain"] == domain]

    def images(self, split: str) -> list[BenchmarkImage]:
        """A split's IQA benchmark."""
        table = pq.read_table(self.folder / "benchmarks" / split / "iqa.parquet")
        images: list[BenchmarkImage] = table.to_pylist()
        return images

    def questions(self, split: str) -> list[Question]:
        """A split's questions."""
        path = self.folder / "benchmarks" / split / "llvisionqa.json"
        questions: list[Question] = artifacts.read_json(path)
        return questions

    def all_images(self) -> list[str]:
        """Every image that a row or a benchmark refers to, once, in the catalog's order."""
        validation = pq.read_table(self.folder / "validation.parquet", columns=["image"])
        named = [*self.rows["image"].to_pylist(), *validation["image"].to_pylist()]
        for split in self.manifest.benchmarks:
            named += [row["image"] for row in self.images(split)]
            named += [question["img_path"] for question in self.questions(split)]
        return [image for image in dict.fromkeys(named) if image is not None]


@lru_cache(maxsize=2)
def open_catalog(folder: Path) -> Catalog:
    """The catalog of `folder`, memory-mapped once a process.

    Raises InputError naming the file that is missing or can't be read.
    """
    manifest = Manifest.read(folder)
    try:
        rows = pa.ipc.open_file(pa.memory_map(str(folder / "rows.arrow"))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{folder / 'rows.arrow'}: can't read the catalog: {error}") from None
    return Catalog(folder, rows, manifest)


def write_counts(folder: Path, rows: Mapping[str, int]) -> None:
    """Write a catalog that counts rows and holds none, which is enough for a plan."""
    artifacts.write_json(folder / "manifest.json", {"rows": dict(rows)})


def read_sizes(folder: Path) -> dict[str, int]:
    """Training rows of each domain, from the manifest alone."""
    return Manifest.read(folder).rows


def write(folder: Path, content: Content) -> None:
    """Number the rows domain after domain and write the catalog into `folder`.

    Raises InputError when a domain has no training rows or a row names an unknown domain.
    """
    ordered = sorted(content.train, key=_domain_index)  # stable: order within a domain is kept
    counts = {domain: sum(row["domain"] == domain for row in ordered) for domain in DOMAINS}
    for domain, count in counts.items():
        if not count:
            raise InputError(f"{folder}: domain {domain} is empty; every domain needs rows")
    table = _table(ordered)
    pq.write_table(table, folder / "rows.parquet")
    with pa.OSFile(str(folder / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as file:
        file.write_table(table)
    validation = sorted(content.validation, key=_domain_index)
    pq.write_table(_table(validation), folder / "validation.parquet")
    for split, rows in content.images.items():
        benchmark = folder / "benchmarks" / split
        benchmark.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), benchmark / "iqa.parquet")
        artifacts.write_json(benchmark / "llvisionqa.json", content.questions[split])
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    tables = [path for path in files if path.parent.name != "images"]
    manifest = Manifest(
        rows=counts,
        validation=len(validation),
        benchmarks={
            split: {"images": len(rows), "questions": len(content.questions[split])}
            for split, rows in content.images.items()
        },
        images=len(files) - len(tables),
        sha256={str(path.relative_to(folder)): artifacts.file_sha256(path) for path in tables},
    )
    artifacts.write_json(folder / "manifest.json", asdict(manifest))


def _domain_index(row: CatalogRow) -> int:
    if row["domain"] not in DOMAINS:
        raise InputError(f"row {row['id']}: domain {row['domain']!r}; expected one of {DOMAINS}")
    return DOMAINS.index(row["domain"])


def _table(rows: Sequence[CatalogRow]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {**row, "row": number, "length": sum(len(t["value"]) for t in row["conversation"])}
            for number, row in enumerate(rows)
        ],
        schema=SCHEMA,
    )
