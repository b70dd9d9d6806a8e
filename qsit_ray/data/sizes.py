"""pure: the size of every image that a data source names, each file decoded once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from qsit_ray.data import images
from qsit_ray.errors import InputError

Size = tuple[int, int]
Sizes = Mapping[str, Size | InputError]
CHUNK = 64
"""Files of one task of the pool."""


def sizes_of(
    names: Iterable[str], root: Path, report: Callable[[int, int], None], outside: bool = False
) -> Sizes:
    """(height, width) of the upright picture of each file below `root`, or why it has none: also
    for a file that is not below `root`, unless `outside`.

    Decoding leaves Python's lock, and a network's file system answers slowly: twice as many threads
    as processors.
    """
    distinct = list(dict.fromkeys(names))
    chunks = [distinct[start : start + CHUNK] for start in range(0, len(distinct), CHUNK)]
    found: dict[str, Size | InputError] = {}
    with ThreadPoolExecutor(2 * len(os.sched_getaffinity(0))) as pool:
        try:
            for chunk, sizes in zip(
                chunks, pool.map(lambda chunk: _sizes(chunk, root, outside), chunks), strict=True
            ):
                found.update(zip(chunk, sizes, strict=True))
                report(len(found), len(distinct))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def _sizes(names: Sequence[str], root: Path, outside: bool) -> list[Size | InputError]:
    real = root.resolve()
    return [_size(root / name, None if outside else real) for name in names]


def _size(file: Path, within: Path | None) -> Size | InputError:
    try:
        # Also through a link: what a data set names must be its own.
        if within is not None and not file.resolve().is_relative_to(within):
            return InputError(
                f"{file}: not below the images' folder (data.outside: allow takes it)"
            )
        return images.check(file)
    except (InputError, RuntimeError) as error:  # RuntimeError: links in a circle
        return error if isinstance(error, InputError) else InputError(f"{file}: {error}")
