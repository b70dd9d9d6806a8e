"""pure: the catalog: all training rows with stable numbers, validation rows and benchmarks.

rows.parquet, rows.arrow        training rows, domain after domain (the .arrow is memory-mapped)
validation.parquet              rows for validation losses
benchmarks/<split>/iqa.parquet  images with MOS
benchmarks/<split>/llvisionqa.json  questions in LLVisionQA's shape
images/                         the demo's images; of other data a link to their folder
manifest.json                   counts and hashes
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from qsit_ray import artifacts
from qsit_ray.errors import InputError

# Rows are read from and written to Arrow and JSON as plain dicts.
Turn = TypedDict("Turn", {"from": str, "value": str})


class RowImage(TypedDict):
    """An image of a row: its path, absolute or relative to the catalog, and the pixels of the
    upright picture."""

    path: str
    height: int
    width: int


class CatalogRow(TypedDict):
    """A training or validation row with no, one or several images; scoring rows have one, `mos` and
    `level`, and may have `level_shares`, the distribution of its opinions over the five levels.
    `photograph`: what its first image was made of. `dataset`: the data set it is from. The catalog
    adds the number `row`."""

    row: NotRequired[int]
    id: str
    domain: str
    images: list[RowImage]
    conversation: list[Turn]
    mos: float | None
    level: str | None
    level_shares: NotRequired[list[float] | None]
    photograph: str | None
    dataset: str


class BenchmarkImage(TypedDict):
    """An image of an IQA benchmark; the demo adds its distortion, other sources the dataset."""

    image: str
    mos: float
    photograph: str | None
    dataset: NotRequired[str]
    distortion: NotRequired[str]
    severity: NotRequired[int]


# The meanings of a question's numbers.
TYPES = ("yes-or-no", "what", "how")
CONCERNS = ("distortion", "other", "in-context distortion", "in-context other")


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
    """A record of a file that is not a row: its number, from 1, and the reason, whose part before a
    colon is its kind."""

    file: str
    domain: str
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


# Texts of all rows together exceed 2 GiB, the most that Arrow's 32-bit offsets reach.
_TEXT = pa.large_string()
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", _TEXT),
        ("domain", _TEXT),
        (
            "images",
            pa.large_list(
                pa.struct([("path", _TEXT), ("height", pa.int64()), ("width", pa.int64())])
            ),
        ),
        ("conversation", pa.large_list(pa.struct([("from", _TEXT), ("value", _TEXT)]))),
        ("mos", pa.float64()),
        ("level", _TEXT),
        ("level_shares", pa.list_(pa.float64())),
        ("photograph", _TEXT),
        ("dataset", _TEXT),
    ]
)
IMAGES = "images"


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
        """The manifest of a catalog folder.

        Raises InputError naming a file that can't be read, or a run folder that this node lacks.
        """
        path = folder / "manifest.json"
        if not folder.parent.exists():
            raise InputError(
                f"{folder.parent}: not on {socket.gethostname()}; the run folder must lie on "
                "storage that all nodes share"
            )
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

    def check(self) -> None:
        """Raises InputError when there are more or fewer rows than the manifest counts."""
        counted = sum(self.sizes.values())
        if len(self.rows) != counted:
            raise InputError(
                f"{self.folder / 'rows.arrow'}: {len(self.rows)} rows, but manifest.json counts "
                f"{counted}; build the catalog again"
            )

    def domains(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The place of training rows' pools; 0 for padding, which counts nothing."""
        ends = np.cumsum([*self.sizes.values()])
        return np.searchsorted(ends, np.maximum(rows, 0), side="right").astype(np.int64)

    def first_with_image(self) -> str | None:
        """The number and the id of the first training or validation row that has an image."""
        for rows in (self.rows, self.validation_rows):
            found = pc.index(pc.greater(pc.list_value_length(rows["images"]), 0), True).as_py()
            if found >= 0:
                (row,) = rows.select(["row", "id"]).slice(found, 1).to_pylist()
                return f"{row['row']} ({row['id']})"
        return None

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> list[CatalogRow]:
        """Training rows by number, in the order asked for. Raises IndexError for another number."""
        wanted = np.asarray(rows, np.int64)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < len(self.rows):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} of {len(self.rows)}")
        batches, starts = self._batches
        within = np.searchsorted(starts, wanted, side="right") - 1
        # Arrow's take would first copy all batches into one.
        found = [
            batches[number].slice(place, 1)
            for number, place in zip(
                within.tolist(), (wanted - starts[within]).tolist(), strict=True
            )
        ]
        taken: list[CatalogRow] = pa.Table.from_batches(found, self.rows.schema).to_pylist()
        return taken

    @cached_property
    def _batches(self) -> tuple[list[pa.RecordBatch], NDArray[np.int64]]:
        """The batches of `rows`, and the number of each one's first row."""
        batches = self.rows.to_batches()
        starts = np.cumsum([0, *(batch.num_rows for batch in batches[:-1])], dtype=np.int64)
        return batches, starts

    @cached_property
    def validation_rows(self) -> pa.Table:
        """The validation rows of all domains, with the columns of `rows`."""
        return pq.read_table(self.folder / "validation.parquet")

    def validation(self, domain: str) -> list[CatalogRow]:
        """The validation rows of a domain."""
        return [row for row in self.validation_rows.to_pylist() if row["domain"] == domain]

    def images(self, split: str) -> list[BenchmarkImage]:
        """A split's IQA benchmark; empty where there is none."""
        if split not in self.manifest.benchmarks:
            return []
        table = pq.read_table(self.folder / "benchmarks" / split / "iqa.parquet")
        images: list[BenchmarkImage] = table.to_pylist()
        return images

    def questions(self, split: str) -> list[Question]:
        """A split's questions; none where there is no such benchmark."""
        if split not in self.manifest.benchmarks:
            return []
        path = self.folder / "benchmarks" / split / "llvisionqa.json"
        questions: list[Question] = artifacts.read_json(path)
        return questions

    def all_images(self) -> list[tuple[str, bool]]:
        """Every image that a row or a benchmark refers to, in the catalog's order, and whether it
        is the only one of its row; each pair once."""
        shown: list[tuple[str, bool]] = []
        for rows in (self.rows, self.validation_rows):
            counts = pc.list_value_length(rows["images"]).to_numpy()
            alone = np.repeat(counts == 1, counts).tolist()
            shown += zip(image_paths(rows).to_pylist(), alone, strict=True)
        for split in self.manifest.benchmarks:
            shown += [(row["image"], True) for row in self.images(split)]
            shown += [(question["img_path"], True) for question in self.questions(split)]
        return list(dict.fromkeys(shown))


def image_paths(rows: pa.Table) -> pa.ChunkedArray:
    """The images of a table of rows, one after the other."""
    return pc.struct_field(pc.list_flatten(rows["images"]), "path")


@lru_cache(maxsize=2)
def open_catalog(folder: Path) -> Catalog:
    """The catalog of `folder`, memory-mapped once a process.

    Raises InputError naming the file that is missing, can't be read or has other columns.
    """
    manifest = Manifest.read(folder)
    try:
        rows = pa.ipc.open_file(pa.memory_map(str(folder / "rows.arrow"))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{folder / 'rows.arrow'}: can't read the catalog: {error}") from None
    if not rows.schema.equals(SCHEMA):
        raise InputError(
            f"{folder / 'rows.arrow'}: another version of qsit_ray wrote these columns; build the "
            "catalog again (qsit data build)"
        )
    return Catalog(folder, rows, manifest)


def image_path(name: str) -> str:
    """The path of a row's image relative to the catalog, from its name below the linked folder."""
    return name if name.startswith("/") else f"{IMAGES}/{name}"


def read_sizes(folder: Path) -> dict[str, int]:
    """Training rows of each domain, from the manifest alone."""
    return Manifest.read(folder).rows
