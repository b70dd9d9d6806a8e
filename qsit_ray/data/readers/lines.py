"""pure: label files of lines whose cells are apart by spaces or tabs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qsit_ray.errors import InputError
from qsit_ray.reading import text_of


def cells(path: Path, *kinds: Callable[[str], Any]) -> list[tuple[Any, ...]]:
    """The lines that are not blank, each cell converted by its kind. A name of several words, such
    as `jpeg 2000`, is the one text between numbers.

    Raises InputError with the line that has another number of cells or one that can't be converted.
    """
    found = []
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        words = line.split("\t") if line.count("\t") == len(kinds) - 1 else line.split()
        if not line.strip():
            continue
        if len(words) != len(kinds):
            raise InputError(f"{path}, line {number}: {len(words)} cells; expected {len(kinds)}")
        try:
            found.append(tuple(kind(word.strip()) for kind, word in zip(kinds, words, strict=True)))
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
    return found
