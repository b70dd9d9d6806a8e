"""pure: files of a database's folder, found by their names wherever in it they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from PIL import Image

from qsit_ray.errors import InputError


def find(folder: Path, *names: str) -> Path:
    """The file of one of these names below a folder, the first name first.

    Raises InputError where there is none, or where two are equally far up.
    """
    found = maybe(folder, *names)
    if found is None:
        raise InputError(f"{folder}: no {' or '.join(names)} in it")
    return found


def maybe(folder: Path, *names: str) -> Path | None:
    """As `find`, None where there is none."""
    every = list(walk(folder))
    for name in names:
        found = [path for path in every if path.name.lower() == name.lower()]
        found.sort(key=lambda path: (len(path.parts), path))
        if len(found) > 1 and len(found[0].parts) == len(found[1].parts):
            raise InputError(f"{folder}: two files {name}: {found[0]} and {found[1]}")
        if found:
            return found[0]
    return None


def images(folder: Path) -> list[str]:
    """All image files below a folder, by their paths from it, in the order of their names."""
    known = endings()
    paths = (path for path in walk(folder) if path.suffix.lower() in known)
    return sorted(str(path.relative_to(folder)) for path in paths)


def endings() -> set[str]:
    """The endings of names, in lower case, of the formats that Pillow reads, not only writes."""
    return {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}


def placed(folder: Path, names: list[str]) -> list[str]:
    """The paths from `folder` of images that a label file calls by their names, with or without a
    part of their paths; letter case does not matter, as it differs between the files' names and the
    labels. An image that is nowhere keeps its name.

    Raises InputError for a name that two images have.
    """
    by_name: dict[str, list[str]] = {}
    for path in images(folder):
        by_name.setdefault(Path(path).name.lower(), []).append(path)
    found = []
    for name in names:
        ending = name.replace("\\", "/").lower()
        those = by_name.get(PurePosixPath(ending).name, [])
        if len(those) > 1:
            those = [each for each in those if f"/{each.lower()}".endswith(f"/{ending}")]
        if len(those) > 1:
            raise InputError(f"{folder}: two images are called {name}: {those[0]}, {those[1]}")
        found.append(those[0] if those else name)
    return found


def walk(folder: Path) -> Iterator[Path]:
    """Every file below a folder, in no certain order; links to folders are not followed. Raises
    InputError naming a folder that may not be read."""
    for parent, _, names in os.walk(folder, onerror=_refuse):
        yield from (Path(parent) / name for name in names)


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: can't be listed: {error.strerror}")
