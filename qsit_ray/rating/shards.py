"""pure: a job of many images as a folder: the list of its images, and a file for each part of it.

    plan.json           images, images a shard, model, profile, precision
    images.parquet      column `image`; a row group for each shard
    shards/00000.parquet  a row for each image: its score, or the reason why it has none
    conditions.json     what the scores depend on
    rejects.jsonl       images without a score, with their reasons

A shard is written at once when all its images are known, so a job that is killed goes on with the
shards that are missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qsit_ray import artifacts
from qsit_ray.errors import InputError
from qsit_ray.rating.outputs import columns
from qsit_ray.rating.results import Precision, Reject, Score

REASON, TRANSIENT = "reason", "transient"
"""Columns of a shard: why an image has no score, and whether another try may succeed."""
READERS = 32
"""Shards that are looked at together."""
COUNTS, CONDITIONS = "counts", "conditions"
"""What is in the metadata of a shard's schema."""


@dataclass(frozen=True)
class Plan:
    """What a job's scores depend on, and how its images are divided."""

    images: int
    shard_images: int
    sha256: str
    model: str
    weights: str
    profile: str
    precision: Precision

    @property
    def shards(self) -> int:
        return -(-self.images // self.shard_images)


@dataclass(frozen=True)
class Counts:
    """Images with a score and without one, and those of the latter that may get one later."""

    scores: int = 0
    rejects: int = 0
    transient: int = 0

    def __add__(self, other: Counts) -> Counts:
        mine, theirs = asdict(self).values(), asdict(other).values()
        return Counts(*(a + b for a, b in zip(mine, theirs, strict=True)))


@dataclass(frozen=True)
class Folder:
    """A job's folder, on a disk or an object store."""

    path: Path

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def images(self) -> Path:
        return self.path / "images.parquet"

    @property
    def rejects(self) -> Path:
        return self.path / "rejects.jsonl"

    @property
    def conditions(self) -> Path:
        return self.path / "conditions.json"

    def shard(self, number: int) -> Path:
        return self.path / "shards" / f"{number:05}.parquet"

    @property
    def begun(self) -> Plan | None:
        """The plan with which a job was begun here."""
        return Plan(**artifacts.read_json(self.plan)) if self.plan.exists() else None

    def begin(self, images: Sequence[str], plan: Plan) -> None:
        """Write the list of the images and the plan, or check that they are those of the folder.

        Raises InputError where the folder has other images or scores of other settings.
        """
        known = self.begun
        if known is None:
            column = pa.table({"image": pa.array(images, pa.large_string())})
            with artifacts.atomic(self.images) as temporary:
                pq.write_table(column, temporary, row_group_size=plan.shard_images)
            artifacts.write_json(self.plan, asdict(plan))
            return
        for name, value in asdict(plan).items():
            if getattr(known, name) != value:
                what = "other images" if name == "sha256" else f"{name} {getattr(known, name)}"
                raise InputError(
                    f"{self.path}: begun with {what}; give the same again, or another folder"
                )

    def listed(self, number: int) -> list[str]:
        """The images of a shard."""
        with self.images.open("rb") as file:
            group: list[str] = pq.ParquetFile(file).read_row_group(number)["image"].to_pylist()
            return group

    def missing(self, plan: Plan) -> list[int]:
        """The shards that are not there, or have images that could not be fetched."""
        there = {path.name for path in (self.path / "shards").glob("*.parquet")}
        known = [number for number in range(plan.shards) if self.shard(number).name in there]
        counts = dict(zip(known, self._counts(known), strict=True))
        return [
            number
            for number in range(plan.shards)
            if number not in counts or counts[number].transient
        ]

    def write(
        self,
        number: int,
        found: Sequence[Score | Reject],
        words: Sequence[str],
        conditions: Mapping[str, Any],
    ) -> Counts:
        """Write a shard: a row for each image, in order."""
        image, *numbers = columns(words)
        kinds = [
            (image, pa.string()),
            *((name, pa.float64()) for name in numbers),
            (REASON, pa.string()),
            (TRANSIENT, pa.bool_()),
        ]
        rejects = [each for each in found if isinstance(each, Reject)]
        counts = Counts(len(found) - len(rejects), len(rejects), sum(r.transient for r in rejects))
        about = {COUNTS: json.dumps(asdict(counts)), CONDITIONS: json.dumps(dict(conditions))}
        rows = [each.to_row() if isinstance(each, Score) else asdict(each) for each in found]
        with artifacts.atomic(self.shard(number)) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, pa.schema(kinds, about)), temporary)
        return counts

    def _counts(self, numbers: Iterable[int]) -> list[Counts]:
        """Of shards that are there. An object store answers slowly, but many at once."""
        with ThreadPoolExecutor(READERS) as readers:
            abouts = readers.map(lambda number: self._about(number, COUNTS), numbers)
            return [Counts(**about) for about in abouts]

    def _about(self, number: int, what: str) -> dict[str, Any]:
        with self.shard(number).open("rb") as file:
            found: dict[str, Any] = json.loads(pq.read_schema(file).metadata[what.encode()])
            return found

    def _rejected(self, number: int) -> Iterator[Reject]:
        with self.shard(number).open("rb") as file:
            table = pq.read_table(file, columns=["image", REASON, TRANSIENT])
        rejects = table.filter(pc.field(REASON).is_valid())
        yield from (Reject(**row) for row in rejects.to_pylist())

    def end(self, plan: Plan) -> Counts:
        """Write the rejects and the conditions of all shards; rows in are scores and rejects."""
        counts = self._counts(range(plan.shards))
        total = sum(counts, Counts())
        if total.scores + total.rejects != plan.images:
            raise RuntimeError(f"{self.path}: {total} do not add up to {plan.images} images")
        artifacts.write_json(self.conditions, self._about(0, CONDITIONS))
        with_rejects = [number for number, each in enumerate(counts) if each.rejects]
        rejects = [asdict(each) for number in with_rejects for each in self._rejected(number)]
        artifacts.write_jsonl(self.rejects, rejects)
        return total
