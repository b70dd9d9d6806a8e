"""pure: writes a catalog, batch by batch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qsit_ray import artifacts
from qsit_ray.data.catalog import (
    IMAGES,
    SCHEMA,
    BenchmarkImage,
    CatalogRow,
    Content,
    Manifest,
    Question,
)
from qsit_ray.errors import InputError
from qsit_ray.mixture import DOMAINS

BATCH = 4096
"""Rows that are converted at a time."""
WRITTEN, BYTES = 65_536, 2**28
"""Rows and bytes of which a batch of the files has one at least. Opening a catalog reads where each
batch lies."""

UNNUMBERED = pa.schema([field for field in SCHEMA if field.name != "row"])


class Writer:
    """A catalog folder that is being written: its rows, domain after domain, then its manifest."""

    def __init__(self, folder: Path, pools: Iterable[str] = DOMAINS) -> None:
        self._folder = folder
        self._counts = dict.fromkeys(pools, 0)
        self._waiting: list[pa.RecordBatch] = []
        self._written = 0
        self._validation_rows = 0
        self._benchmarks: dict[str, dict[str, int]] = {}
        self._open = ExitStack()

    def __enter__(self) -> Writer:
        enter = self._open.enter_context
        self._parquet = enter(pq.ParquetWriter(self._folder / "rows.parquet", SCHEMA))
        sink = enter(pa.OSFile(str(self._folder / "rows.arrow"), "wb"))
        self._arrow = enter(pa.ipc.new_file(sink, SCHEMA))
        self._validation = enter(pq.ParquetWriter(self._folder / "validation.parquet", SCHEMA))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._open:
            if error is None:
                self._write()
        if error is None:
            self._finish()

    def train(self, domain: str, rows: pa.RecordBatch) -> None:
        """Add training rows of a domain, with the columns of `SCHEMA` but their number."""
        self._counts[domain] += len(rows)
        self._waiting.append(rows)
        held = sum(batch.nbytes for batch in self._waiting)
        if sum(map(len, self._waiting)) >= WRITTEN or held >= BYTES:
            self._write()

    def validation(self, rows: pa.RecordBatch) -> None:
        """Add rows of the validation losses, of any domain."""
        self._validation.write_batch(_numbered(rows, self._validation_rows))
        self._validation_rows += len(rows)

    def benchmark(
        self, split: str, images: Sequence[BenchmarkImage], questions: Sequence[Question]
    ) -> None:
        """Add a split's images with MOS and its questions."""
        folder = self._folder / "benchmarks" / split
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(images), folder / "iqa.parquet")
        artifacts.write_json(folder / "llvisionqa.json", questions)
        self._benchmarks[split] = {"images": len(images), "questions": len(questions)}

    def _write(self) -> None:
        """Write the rows that wait, as one batch."""
        if not self._waiting:
            return
        numbered = _numbered(pa.concat_batches(self._waiting), self._written)
        self._parquet.write_batch(numbered)
        self._arrow.write_batch(numbered)
        self._waiting.clear()
        self._written += len(numbered)

    def _finish(self) -> None:
        for domain, count in self._counts.items():
            if not count:
                raise InputError(
                    f"{self._folder}: domain {domain} is empty; every domain needs rows"
                )
        files = sorted(path for path in self._folder.rglob("*") if path.is_file())
        tables = [path for path in files if path.parent.name != IMAGES]
        manifest = Manifest(
            rows=self._counts,
            validation=self._validation_rows,
            benchmarks=self._benchmarks,
            images=len(files) - len(tables),
            sha256={
                str(path.relative_to(self._folder)): artifacts.file_sha256(path) for path in tables
            },
        )
        artifacts.write_json(self._folder / "manifest.json", asdict(manifest))


def write(folder: Path, content: Content) -> None:
    """Number the rows domain after domain and write the catalog into `folder`.

    Raises InputError when a domain has no training rows or a row names an unknown domain.
    """
    train, validation = (
        sorted(rows, key=_domain_index) for rows in (content.train, content.validation)
    )
    with Writer(folder) as writer:
        for domain in DOMAINS:
            for batch in batches([row for row in train if row["domain"] == domain]):
                writer.train(domain, batch)
        for batch in batches(validation):
            writer.validation(batch)
        for split, images in content.images.items():
            writer.benchmark(split, images, content.questions[split])


def batches(rows: Sequence[CatalogRow]) -> Iterator[pa.RecordBatch]:
    """Rows as batches of `SCHEMA` without their number."""
    for start in range(0, len(rows), BATCH):
        yield pa.RecordBatch.from_pylist(rows[start : start + BATCH], schema=UNNUMBERED)


def link_images(folder: Path, root: Path) -> None:
    """Let images/ of a catalog lead to `root`.

    The link is relative: it holds where the run folder and the images move together, and no row,
    and so no hash, depends on where they are.
    """
    link = folder / IMAGES
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(root.resolve(), folder.resolve()), target_is_directory=True)


def write_counts(folder: Path, rows: Mapping[str, int]) -> None:
    """Write a catalog that counts rows and holds none, which is enough for a plan."""
    artifacts.write_json(folder / "manifest.json", {"rows": dict(rows)})


def _numbered(rows: pa.RecordBatch, first: int) -> pa.RecordBatch:
    numbers = pa.array(np.arange(first, first + len(rows)))
    return pa.RecordBatch.from_arrays(
        [numbers, *rows.select(UNNUMBERED.names).columns], schema=SCHEMA
    )


def _domain_index(row: CatalogRow) -> int:
    if row["domain"] not in DOMAINS:
        raise InputError(f"row {row['id']}: domain {row['domain']!r}; expected one of {DOMAINS}")
    return DOMAINS.index(row["domain"])
