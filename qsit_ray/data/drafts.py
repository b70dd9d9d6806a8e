"""pure: drafts: rows without the sizes of their images, from files of records of any size.

Records are read one after another into a file of drafts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from qsit_ray.config.data import LlavaData, PoolsData
from qsit_ray.data import benchmarks, llava, llava_next
from qsit_ray.data.catalog import BenchmarkImage, Question, Reject
from qsit_ray.data.writing import BATCH, UNNUMBERED
from qsit_ray.errors import InputError
from qsit_ray.levels import LEVELS

# A draft has the names of its images below their folder, its file and record, and the place of
# that record among all.
DRAFTS = pa.schema(
    [
        *(field for field in UNNUMBERED if field.name != "images"),
        ("images", pa.large_list(pa.large_string())),
        ("file", pa.large_string()),
        ("record", pa.int64()),
        ("place", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Drafts:
    """What the files of a run hold, before any image is looked at.

    `table`: the drafts, in the order of their files, domain after domain. `rejects`: the other
    records, by their place among all. `asked`: questions by split. `tested`: test sets.
    """

    table: pa.Table
    rejects: dict[int, Reject]
    asked: dict[str, benchmarks.Benchmark[Question]]
    tested: list[benchmarks.Benchmark[BenchmarkImage]]

    @cached_property
    def images(self) -> list[str]:
        """The distinct images of the drafts."""
        names: list[str] = pc.unique(pc.list_flatten(self.table["images"])).to_pylist()
        return names

    @property
    def evaluated(self) -> list[benchmarks.Benchmark[Any]]:
        """The questions and the test sets."""
        return [*self.asked.values(), *self.tested]

    @cached_property
    def evaluation_images(self) -> list[str]:
        return [name for each in self.evaluated for name in each.names]


def drafts_of(
    data: LlavaData | PoolsData,
    seed: int,
    scratch: Path,
    report: Callable[[int, int, str], None],
    levels: tuple[str, ...] = LEVELS,
) -> Drafts:
    """The drafts of all files of `data`, in the file `scratch`. `levels`: the words of scored
    records, worst first. `report` gets what is done, out of how many, and of what.

    Raises InputError naming a file that can't be read, and the row of a question or test image that
    can't be used: evaluation sets are never reduced.
    """
    folders = Folders(data)
    rejects: dict[int, Reject] = {}
    with pa.OSFile(str(scratch), "wb") as sink, pa.ipc.new_file(sink, DRAFTS) as out:
        drafted = _drafted(data, seed, folders, rejects, report, levels)
        while held := list(itertools.islice(drafted, BATCH)):
            out.write_batch(pa.RecordBatch.from_pylist(held, schema=DRAFTS))
    asked, tested = {}, []
    if isinstance(data, LlavaData):
        questions = {"validation": data.validation_questions, "test": data.test_questions}
        asked = {
            split: benchmarks.questions(name, folders.of(name), graded=split == "test")
            for split, name in questions.items()
        }
        named = data.test_images.items()
        tested = [benchmarks.images(name, path, folders.of(path)) for name, path in named]
    folders.check()
    table = pa.ipc.open_file(pa.memory_map(str(scratch))).read_all()
    return Drafts(table, rejects, asked, tested)


def _drafted(
    data: LlavaData | PoolsData,
    seed: int,
    folders: Folders,
    rejects: dict[int, Reject],
    report: Callable[[int, int, str], None],
    levels: tuple[str, ...],
) -> Iterator[dict[str, Any]]:
    """The drafts of all records; the other records are added to `rejects`, by their place."""
    files = [(pool, name) for pool, names in data.files.items() for name in names]
    scored = data.scored
    place = 0
    for done, (domain, name) in enumerate(files, start=1):
        for file, number, record in llava_next.records(name, seed):
            place += 1
            try:
                stem, folder = PurePath(file).stem, folders.of(name, file)
                words = levels if domain == scored else None
                parsed = llava.parsed(record, domain, stem, folder, words)
            except ValueError as error:
                rejects[place] = {
                    "file": file,
                    "domain": domain,
                    "record": number,
                    "reason": str(error),
                }
            else:
                yield {
                    **parsed.row,
                    "images": parsed.images,
                    "file": file,
                    "record": number,
                    "place": place,
                }
            if place % BATCH == 0:
                report(done - 1, len(files), f"files, {place:,} records")
        report(done, len(files), "files")


class Folders:
    """The folders below `data.images` that the image names of the files are relative to."""

    def __init__(self, data: LlavaData | PoolsData) -> None:
        self._folders = data.folders
        self._asked: set[str] = set()

    def of(self, *files: str | None) -> str:
        """The folder of the last of the files that has one, ending with a slash; or nothing."""
        self._asked.update(filter(None, files))
        found = [self._folders[file] for file in files if file in self._folders]
        return f"{found[-1].rstrip('/')}/" if found else ""

    def check(self) -> None:
        """Raises InputError for a folder of a file that is not read."""
        if unknown := sorted(set(self._folders) - self._asked):
            raise InputError(f"data.folders: {unknown[0]} is none of the data's files")
