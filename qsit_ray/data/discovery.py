"""pure: what a folder of downloads holds: databases, training files, questions, and their images.

Nothing is asked. A database is known by the name of its label file, any other file by what its
records show. What shows nothing is said, with the reason.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from qsit_ray import reading, tables
from qsit_ray.data import databases
from qsit_ray.data.labels import Labels, load
from qsit_ray.data.readers import files
from qsit_ray.data.records import in_llavas_shape
from qsit_ray.errors import InputError
from qsit_ray.reading import is_unicode

Use = Literal["scoring", "interpreting", "general", "questions"]
SAMPLE = 200
"""Records of a file by which it is judged."""
QUALITY = re.compile(
    r"\b(quality|blur\w*|sharp\w*|nois[ey]\w*|distort\w*|expos\w*|lighting|contrast|focus\w*|"
    r"artifacts?|compress\w*|clarity)\b",
    re.IGNORECASE,
)
INTERPRETING_SHARE = 0.25
"""Share of records that ask of quality from which a file is D2 and not D3."""
IMAGE_COLUMNS = (
    *("image", "image_name", "image name", "image_path", "img", "img_path"),
    *("file", "filename", "file_name", "name"),
)
MOS_COLUMNS = ("mos", "mos_zscore", "score", "rating", "quality", "gt_score")


_KNOWN = {name.lower(): each for each in databases.READERS.values() for name in each.files}


class _ImagesElsewhere(InputError):
    """Labels that were read, most of whose images are not there."""


@dataclass(frozen=True)
class Records:
    """A file of training records or questions, and the folder that its image names are relative
    to, below the folder of all. None: most of its images are nowhere, or it has none."""

    file: Path
    use: Use
    count: int
    folder: str | None


@dataclass(frozen=True)
class Found:
    """What a folder holds. Images of labels are relative to it. `unknown`: files that show no use,
    each with the reason. `images`: files of images."""

    labels: list[Labels] = field(default_factory=list)
    records: list[Records] = field(default_factory=list)
    unknown: list[tuple[Path, str]] = field(default_factory=list)
    images: int = 0


def discover(root: Path, skip: Path, report: Callable[[int, int], None]) -> Found:
    """Judge every label file and every file of records below a folder, but for the folder `skip`.
    `report` gets the files judged and their number.

    Raises InputError for a folder that does not exist, has no image, or lies in `skip`.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    own = skip.resolve()
    if root.resolve().is_relative_to(own):
        raise InputError(f"{root}: what is made goes to {skip}; give --out another name")
    root = root.absolute()
    images = files.images(root)
    if not images:
        raise InputError(f"{root}: no image below it")
    places = _Places(root, images)
    found = Found(images=len(images))
    judged = sorted(
        path
        for path in files.walk(root)
        if _ending(path) is not None and not path.resolve().is_relative_to(own)
    )
    for number, path in enumerate(judged, start=1):
        reader = _KNOWN.get(path.name.lower())
        try:
            if not is_unicode(str(path)):
                raise InputError("its name is not UTF-8, which a YAML is")
            if reader is None:
                _judge(path, root, places, found)
            elif path == next(p for p in judged if _KNOWN.get(p.name.lower()) is reader):
                together = [p.parent for p in judged if _KNOWN.get(p.name.lower()) is reader]
                _read_database(reader, path, Path(os.path.commonpath(together)), places, found)
        except InputError as error:
            found.unknown.append((path, str(error).removeprefix(f"{path}: ")))
        report(number, len(judged))
    return found


def _read_database(
    reader: databases.Reader, path: Path, folder: Path, places: _Places, found: Found
) -> None:
    """Raises InputError where neither the reader takes the file nor it is anyone's table."""
    root = places.root
    try:
        _add(found, _database(reader, folder, root), path)
    except _ImagesElsewhere:
        raise
    except InputError:
        # Names such as data.csv are also anyone's.
        if path.suffix.lower() == ".csv" and _has_columns(path):
            _add(found, _table(path, places), path)
        else:
            raise


def _add(found: Found, labels: Labels, path: Path) -> None:
    """Raises InputError for labels that are there already."""
    scores = {row.image: row.mos for row in labels.rows}
    for other in found.labels:
        if scores == {row.image: row.mos for row in other.rows}:
            raise InputError(f"the same labels as {other.dataset}'s")
    found.labels.append(labels)


def _ending(path: Path) -> str | None:
    if path.name.startswith("."):
        return None
    if path.suffix.lower() in (".txt", ".mat"):  # only databases have such
        return path.suffix.lower() if path.name.lower() in _KNOWN else None
    try:
        return reading.ending(path)
    except InputError:
        return None


def _database(reader: databases.Reader, folder: Path, root: Path) -> Labels:
    """The labels below the nearest folder that has all of their images, or the most of them."""
    best: tuple[int, Labels] | None = None
    while True:
        try:
            labels = reader.read(folder)
            labels.check(folder)
        except InputError:
            if best is None:
                raise
            break  # further up two images have one name
        there = sum((folder / row.image).is_file() for row in labels.rows)
        if best is None or there > best[0]:
            best = there, _below(labels, folder, root)
        if there == len(labels.rows) or folder == root:
            break
        folder = folder.parent
    if best[0] * 2 < len(best[1].rows):
        raise _ImagesElsewhere(
            f"labels of {best[1].dataset}, {best[0]:,} of whose {len(best[1].rows):,} images are "
            f"below {root}"
        )
    return best[1]


def _below(labels: Labels, folder: Path, root: Path) -> Labels:
    """The labels of `folder`, their images relative to `root`."""
    prefix = folder.relative_to(root)
    rows = [replace(row, image=(prefix / row.image).as_posix()) for row in labels.rows]
    return replace(labels, rows=rows)


def _judge(path: Path, root: Path, places: _Places, found: Found) -> None:
    if reading.ending(path) in (".json", ".jsonl"):
        content = reading.read_values(path)
        if isinstance(content, list) and content and isinstance(content[0], dict):
            use = _use(content)
            if use is not None:
                names = [name for each in content[:SAMPLE] for name in _image_names(each)]
                folder = places.folder(names, path)
                if names and folder is None:
                    raise InputError(
                        f"most of its images, such as {names[0]}, are not below {root}"
                    )
                found.records.append(Records(path, use, len(content), folder))
                return
    _add(found, _table(path, places), path)


def _has_columns(path: Path) -> bool:
    names = {name.lower() for name in tables.read(path).names}
    return bool(names.intersection(IMAGE_COLUMNS) and names.intersection(MOS_COLUMNS))


def _table(path: Path, places: _Places) -> Labels:
    """The labels of anyone's table of images and scores. Raises InputError where it shows none."""
    table = tables.read(path)
    lowered = {name.lower(): name for name in table.names}
    image = next((lowered[name] for name in IMAGE_COLUMNS if name in lowered), None)
    mos = next((lowered[name] for name in MOS_COLUMNS if name in lowered), None)
    if image is None or mos is None:
        columns = ", ".join(table.names[:8])
        raise InputError(f"neither records nor a table of images and scores (columns: {columns})")
    labels = load(path, image, mos, lower_better=False)
    labels.check(path)
    names = [row.image for row in labels.rows]
    folder = places.folder(names, path)
    if folder is None:
        raise InputError(f"most of its images, such as {names[0]}, are not there")
    rows = [replace(row, image=f"{folder}{row.image}") for row in labels.rows]
    return replace(labels, rows=rows)


def _use(records: Sequence[Any]) -> Use | None:
    """What a file is for, by its first records; None where they show nothing."""
    sample = records[:SAMPLE]
    if all(isinstance(each, dict) and "candidates" in each for each in sample):
        if not all("correct_ans" in each for each in sample):
            raise InputError("questions without answers, on which nothing can be validated")
        return "questions"
    shaped = list(_shaped(sample))
    if len(shaped) * 2 < len(sample):
        return None
    if all("->" in str(each.get("id", "")) or "gt_score" in each for each in shaped):
        return "scoring"
    asked = [" ".join(turn["value"] for turn in each["conversations"][:2]) for each in shaped]
    share = sum(bool(QUALITY.search(text)) for text in asked) / len(asked)
    return "interpreting" if share >= INTERPRETING_SHARE else "general"


def _shaped(records: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for record in records:
        try:
            shaped = in_llavas_shape(record)
        except ValueError:
            continue
        if all(isinstance(turn["value"], str) for turn in shaped["conversations"]):
            yield shaped


def _image_names(record: Any) -> list[str]:
    if isinstance(record, dict) and isinstance(record.get("img_path"), str):
        return [record["img_path"]]
    return list(itertools.chain(*(each["image"] for each in _shaped([record]))))


class _Places:
    """Where images are, by the names of their files."""

    def __init__(self, root: Path, images: Sequence[str]) -> None:
        self.root = root
        self._by_name: dict[str, list[str]] = {}
        for path in images:
            self._by_name.setdefault(PurePosixPath(path).name, []).append(path)

    def folder(self, names: Sequence[str], file: Path) -> str | None:
        """The folder, with a slash at its end, or nothing for the root, below which at least half
        of the names in a file are: the one with the most, of these the one nearest to the file.

        Raises InputError where two are as near.
        """
        votes = Counter(prefix for name in names for prefix in self._prefixes(name))
        most = max(votes.values(), default=0)
        if most * 2 < len(names) or not most:
            return None
        own = file.parent.relative_to(self.root).parts

        def shared(prefix: str) -> int:
            pairs = zip(PurePosixPath(prefix).parts, own, strict=False)
            return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))

        best = [prefix for prefix, count in votes.items() if count == most]
        nearest = max(map(shared, best))
        best = sorted(prefix for prefix in best if shared(prefix) == nearest)
        if len(best) > 1:
            raise InputError(f"two folders have its images: {best[0]} and {best[1]}")
        return best[0]

    def _prefixes(self, name: str) -> Iterator[str]:
        for path in self._by_name.get(PurePosixPath(name).name, []):
            if path == name or path.endswith(f"/{name}"):
                yield path[: len(path) - len(name)]
