"""pure: the images that a command line names: files, folders, patterns, addresses, a table's
column, lines of standard input."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from qsit_ray import addresses, tables
from qsit_ray.data.readers import files
from qsit_ray.errors import InputError
from qsit_ray.rating.pictures import is_address

STDIN = "-"
TABLES = {".csv", ".tsv", ".parquet", ".xlsx", ".json", ".jsonl"}
"""Endings of files that list images."""


def listed(words: Sequence[str], column: str | None, stdin: TextIO) -> list[str]:
    """The paths and addresses that `words` stand for, in their order.

    A folder, of this machine or of an object store, stands for the images below it, by name; a
    pattern for what it matches; a table, whose `column` is by default `image`, for its rows,
    relative to its folder; `-` for the lines of `stdin`. Raises InputError for a word that stands
    for nothing, and for an address with a password: names are written beside the scores.
    """
    found: list[str] = []
    for word in words:
        addresses.check(word)
        before = len(found)
        found += _listed(word, column, stdin)
        if len(found) == before:
            raise InputError(f"{word}: no images there")
    for name in found:
        addresses.check(name)
    return found


def below(folder: Path) -> list[str]:
    """The images below a folder, hidden ones left out, by their paths from it, in their order."""
    return [name for name in files.images(folder) if not _is_hidden(name)]


def _listed(word: str, column: str | None, stdin: TextIO) -> Iterable[str]:
    if word == STDIN:
        return [line.strip() for line in stdin if line.strip()]
    if is_address(word):
        return _matched(word) if glob.has_magic(word) else _below(word)
    path = Path(word)
    if path.is_dir():
        return [str(path / name) for name in below(path)]
    if path.suffix.lower() in TABLES and path.is_file():
        return _of_table(path, column)
    if not path.exists() and glob.has_magic(word):
        matches = glob.glob(word, recursive=True)  # noqa: PTH207 (a Path takes no absolute pattern)
        return sorted(match for match in matches if Path(match).is_file())
    if not path.exists():
        raise InputError(f"{word}: no such file or folder")
    return [word]


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in Path(name).parts)


def _matched(pattern: str) -> list[str]:
    import fsspec

    try:
        return [file.full_name for file in fsspec.open_files(pattern)]
    except Exception as error:  # each store has its own
        raise InputError(f"{pattern}: can't be listed: {' '.join(str(error).split())}") from None


def _below(address: str) -> list[str]:
    """The images below an address that is a folder; else the address itself. An address without an
    image's ending is looked up: a web page's address may be an image all the same."""
    import fsspec

    if Path(address).suffix.lower() in files.endings() or address.startswith(("http:", "https:")):
        return [address]
    try:
        store, path = fsspec.core.url_to_fs(address)
        if store.isfile(path):
            return [address]
        found = sorted(store.find(path))
    except Exception as error:  # each store has its own
        raise InputError(f"{address}: can't be listed: {' '.join(str(error).split())}") from None
    images = [
        name
        for name in found
        if Path(name).suffix.lower() in files.endings()
        and not _is_hidden(name.removeprefix(path).lstrip("/"))
    ]
    return [store.unstrip_protocol(name) for name in images]


def _of_table(path: Path, column: str | None) -> list[str]:
    names = tables.read(path).labels(column or "image")
    return [name if is_address(name) else str(path.parent / name) for name in names]
