"""pure: a pack: image files as they are, in a few large Arrow files, so that a training reads these
and not a million small ones, whose store may be far away.

00000.arrow …   a part: name, height, width, sha256, the file's bytes; or the error in their place
index.arrow     every image's name, in order, with the part and the place in it
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qsit_ray import artifacts
from qsit_ray.data.catalog import IMAGES
from qsit_ray.errors import InputError

PART = 256
"""Images of a part: some hundreds of megabytes."""
BYTES = 1 << 25
"""Bytes of images that are written at a time."""
OPEN = 64
"""Parts that a process keeps mapped."""
INDEX = "index.arrow"
MADE_OF = b"made of"

SCHEMA = pa.schema(
    [
        ("name", pa.large_string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("sha256", pa.string()),
        ("content", pa.large_binary()),
        ("error", pa.string()),
    ]
)


# Of a schema: an array made here would import pandas.
_EMPTY = pa.schema(
    [("name", pa.large_string()), ("part", pa.int32()), ("place", pa.int32())]
).empty_table()


@dataclass(frozen=True)
class Packed:
    """An image file within a pack; it is read as a path is."""

    part: Path
    place: int
    name: str

    def read_bytes(self) -> bytes:
        content: bytes = _open(self.part)["content"][self.place].as_py()
        return content

    def __str__(self) -> str:
        return f"{self.part}, {self.name}"


@dataclass(frozen=True)
class Image:
    """A file of a pack: its bytes and the size of its upright picture; or no bytes, zeros and the
    error."""

    name: str
    height: int
    width: int
    content: bytes | None
    error: str


def write_part(path: Path, made_of: str, images: Iterator[Image]) -> pa.Table:
    """Write a part atomically, and return it without the files' bytes. `made_of`: what its files
    are, by which `read_part` knows it."""
    schema = SCHEMA.with_metadata({MADE_OF: made_of})
    with (
        artifacts.atomic(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema) as out,
    ):
        held: list[dict[str, object]] = []
        size = 0
        for image in images:
            content = image.content
            sha256 = None if content is None else hashlib.sha256(content).hexdigest()
            held.append({**vars(image), "sha256": sha256})
            size += len(content or b"")
            if size >= BYTES:
                out.write_batch(pa.RecordBatch.from_pylist(held, schema))
                held, size = [], 0
        out.write_batch(pa.RecordBatch.from_pylist(held, schema))
    return _without_content(path)


def read_part(path: Path, made_of: str) -> pa.Table | None:
    """A finished part of these files, without their bytes; None where there is none."""
    if not path.exists():
        return None
    try:
        found = pa.ipc.open_file(pa.memory_map(str(path)))
        if found.schema.metadata.get(MADE_OF) != made_of.encode():
            return None
    except (pa.ArrowInvalid, AttributeError):  # no Arrow file, or one without metadata
        return None
    return _without_content(path)


def _without_content(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all().drop_columns(["content"])


def write_index(folder: Path, parts: int) -> None:
    """Write the index of a pack of so many parts, and remove what other files are in it."""
    open_index.cache_clear()
    _open.cache_clear()
    paths = [part(folder, number) for number in range(parts)]
    tables = []
    for number, path in enumerate(paths):
        found = _open(path)
        of = {
            "name": found["name"],
            "part": pa.array(np.full(len(found), number, np.int32)),
            "place": pa.array(np.arange(len(found), dtype=np.int32)),
        }
        tables.append(pa.table(of).filter(pc.equal(found["error"], "")))
    table = pa.concat_tables([_EMPTY, *tables]).sort_by("name")
    with (
        artifacts.atomic(folder / INDEX) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as out,
    ):
        out.write_table(table)
    for other in set(folder.iterdir()) - {*paths, folder / INDEX}:
        artifacts.remove(other)


@lru_cache(maxsize=2)
def open_index(folder: Path) -> pa.Table | None:
    """The index of a pack, memory-mapped once a process; None where the folder is none.

    Raises InputError where it can't be read.
    """
    path = folder / INDEX
    if not path.exists():
        return None
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all().combine_chunks()
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: can't read it: {error}; build the catalog again") from None


def find(folder: Path, name: str) -> Path | Packed:
    """The file `name` of a folder, or of the pack that the folder is."""
    index = open_index(folder)
    if index is None:
        return folder / name
    names = index["name"]
    at = bisect.bisect_left(range(len(names)), name, key=lambda i: names[i].as_py())
    if at == len(names) or names[at].as_py() != name:
        return folder / name  # it is missing, by this name
    return Packed(part(folder, index["part"][at].as_py()), index["place"][at].as_py(), name)


def move(folder: Path, target: Path) -> None:
    """Move a finished pack."""
    folder.rename(target)
    open_index.cache_clear()
    _open.cache_clear()


def place(catalog: Path, path: str) -> Path | Packed:
    """The file of an image of a catalog's row, or of a path below its folder."""
    if path.startswith(("/", f"{IMAGES}/")):
        return find(catalog / IMAGES, path.removeprefix(f"{IMAGES}/"))
    return catalog / path


def part(folder: Path, number: int) -> Path:
    """The file of a pack's part."""
    return folder / f"{number:05}.arrow"


@lru_cache(maxsize=OPEN)
def _open(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
