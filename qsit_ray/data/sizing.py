"""rim: the size of every image that a data source names, each file decoded once, and packed where
that is asked for.

A few images are read by threads of this process, as decoding leaves Python's lock; many by Ray
Data, on all nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from qsit_ray import artifacts
from qsit_ray.data import images, pack
from qsit_ray.data.sizes import Sizes
from qsit_ray.errors import InputError
from qsit_ray.session import cores, session

FEW = 20_000
"""Images up to which no Ray session is started for them."""
CHUNK = 64
"""Images of a task that packs none."""


def sizes_of(
    names: Iterable[str],
    root: Path,
    report: Callable[[int, int], None],
    outside: bool = False,
    packed: Path | None = None,
) -> Sizes:
    """The size of each file below `root`, a folder or a bucket's, or why it has none: also for a
    file that is not below `root`, unless `outside`. `packed`: the folder to pack them into.

    Parts that a stopped or refused command has packed are not read again, but for those with an
    error.
    """
    distinct = list(dict.fromkeys(names))
    step = CHUNK if packed is None else pack.PART
    chunks = [distinct[start : start + step] for start in range(0, len(distinct), step)]
    height, width = (np.zeros(len(distinct), np.int32) for _ in range(2))
    errors: dict[str, str] = {}
    done = 0
    for found in _looks(_Look(root, outside, packed), chunks):
        start, count = found["chunk"] * step, len(found["height"])
        height[start : start + count] = found["height"]
        width[start : start + count] = found["width"]
        pairs = zip(chunks[found["chunk"]], found["error"], strict=True)
        errors |= {name: error for name, error in pairs if error}
        done += count
        report(done, len(distinct))
    if packed is not None:
        pack.write_index(packed, len(chunks))
    return Sizes(pa.array(distinct, pa.large_string()), height, width, errors)


def _looks(look: _Look, chunks: Sequence[list[str]]) -> Iterator[Mapping[str, Any]]:
    """What `look` gives for each chunk, in any order."""
    rows = [{"chunk": number, "names": names} for number, names in enumerate(chunks)]
    if sum(map(len, chunks)) > FEW:
        with session(processes=cores()):
            import ray

            yield from (
                ray.data.from_items(rows, override_num_blocks=len(rows)).map(look).iter_rows()
            )
        return
    # A network's file system answers slowly: more threads than processors.
    with ThreadPoolExecutor(2 * cores()) as pool:
        try:
            yield from pool.map(look, rows)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Read:
    """A file that keeps what is read of it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.content: bytes | None = None

    def read_bytes(self) -> bytes:
        self.content = self.file.read_bytes()
        return self.content

    def __str__(self) -> str:
        return str(self.file)


@dataclass(frozen=True)
class _Look:
    """Finds the sizes of a chunk's images, in a thread or a Ray task."""

    root: Path
    outside: bool
    packed: Path | None

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        names = list(row["names"])
        if self.packed is None:
            found = [self._size(name) for name in names]
        else:
            found = self._pack(pack.part(self.packed, row["chunk"]), names)
        return {
            "chunk": row["chunk"],
            "height": [height for height, _, _ in found],
            "width": [width for _, width, _ in found],
            "error": [error for _, _, error in found],
        }

    def _pack(self, part: Path, names: list[str]) -> list[tuple[int, int, str]]:
        files = [[name, self._stamp(name)] for name in names]
        made_of = artifacts.digest([str(self.root), self.outside, files])
        done = pack.read_part(part, made_of)
        # A file that could not be read may have been mended since.
        if done is None or any(done["error"].to_pylist()):
            done = pack.write_part(part, made_of, map(self._image, names))
        return [(each["height"], each["width"], each["error"]) for each in done.to_pylist()]

    def _image(self, name: str) -> pack.Image:
        file = _Read(self.root / name)
        height, width, error = self._size(name, file)
        return pack.Image(name, height, width, None if error else file.content, error)

    def _stamp(self, name: str) -> list[int] | None:
        """Size and time of a file of this machine; None of another, as each would be a request."""
        file = self.root / name
        if not isinstance(file, Path):
            return None
        try:
            found = file.stat()
        except (OSError, ValueError):
            return None
        return [found.st_size, found.st_mtime_ns]

    def _size(self, name: str, read: images.File | None = None) -> tuple[int, int, str]:
        """Height, width and nothing; or zeros and the error. `read`: to read the file by."""
        file = self.root / name
        if "\0" in name:
            return 0, 0, f"{self.root}: {name!r} has a null byte, which no file's name can have"
        try:
            if not (self.outside or self._is_below(file, name)):
                raise InputError(
                    f"{file}: not below the images' folder (data.outside: allow takes it)"
                )
            return (*images.check(read or file), "")
        except InputError as error:
            return 0, 0, str(error)
        except (
            RuntimeError,
            ValueError,
        ) as error:  # links in a circle, a spoilt name
            return 0, 0, f"{file}: {error}"

    def _is_below(self, file: Path, name: str) -> bool:
        """Also through a link: what a data set names must be its own."""
        if isinstance(file, Path):
            return file.resolve().is_relative_to(self.root.resolve())
        plain = PurePosixPath(name)
        return not (plain.is_absolute() or ".." in plain.parts)
