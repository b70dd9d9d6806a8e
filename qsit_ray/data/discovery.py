"""pure: what a folder of downloads holds: databases, training files, questions, and their images.

Nothing is asked. A database is known by the name of its label file, any other file by what its
records show. What shows nothing is said, with the reason.
"""

from __future__ import annotations

import itertools
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

Use = Literal["scoring", "interpreting", "general", "questions"]
SAMPLE = 200
"""Records of a file by which it is judged."""
QUALITY = re.compile(
    r"quality|blur|sharp|nois|distort|expos|light|contrast|focus|artifact|compress|clarity",
    re.IGNORECASE,
)
INTERPRETING_SHARE = 0.25
"""Share of records that ask of quality from which a file is D2 and not D3."""
IMAGE_COLUMNS = (
    *("image", "image_name", "image name", "image_path", "img", "img_path"),
    *("file", "filename", "file_name", "name"),
)
MOS_COLUMNS = ("mos", "mos_zscore", "score", "rating", "quality", "gt_score")


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

    Raises InputError for a folder that does not exist or has no image.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    root = root.absolute()
    images = files.images(root)
    if not images:
        raise InputError(f"{root}: no image below it")
    places = _Places(images)
    found = Found(images=len(images))
    known = {name.lower(): each for each in databases.READERS.values() for name in each.files}
    judged = sorted(
        path
        for path in files.walk(root)
        if _ending(path) is not None and not path.is_relative_to(skip.absolute())
    )
    done: set[tuple[int, Path]] = set()
    for number, path in enumerate(judged, start=1):
        try:
            reader = known.get(path.name.lower())
            if reader is not None and (id(reader), path.parent) not in done:
                done.add((id(reader), path.parent))
                found.labels.append(_database(reader, path.parent, root))
            elif reader is None:
                _judge(path, root, places, found)
        except InputError as error:
            found.unknown.append((path, str(error).removeprefix(f"{path}: ")))
        report(number, len(judged))
    return found


def _ending(path: Path) -> str | None:
    if path.name.startswith("."):
        return None
    if path.suffix.lower() in (".txt", ".mat"):  # only databases have such
        names = {name.lower() for each in databases.READERS.values() for name in each.files}
        return path.suffix.lower() if path.name.lower() in names else None
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
    if not best[0]:
        raise InputError(f"labels of {best[1].dataset}, none of whose images are below {root}")
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
                folder = places.folder(names)
                if names and folder is None:
                    raise InputError(
                        f"most of its images, such as {names[0]}, are not below {root}"
                    )
                found.records.append(Records(path, use, len(content), folder))
                return
    found.labels.append(_table(path, places))


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
    folder = places.folder(names)
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

    def __init__(self, images: Sequence[str]) -> None:
        self._by_name: dict[str, list[str]] = {}
        for path in images:
            self._by_name.setdefault(PurePosixPath(path).name, []).append(path)

    def folder(self, names: Sequence[str]) -> str | None:
        """The folder, with a slash at its end, or nothing for the root, below which at least half
        of the names are; the one with the most, then the shortest."""
        votes = Counter(prefix for name in names for prefix in self._prefixes(name))
        if not votes:
            return None
        best = min(votes, key=lambda prefix: (-votes[prefix], len(prefix), prefix))
        return best if votes[best] * 2 >= len(names) else None

    def _prefixes(self, name: str) -> Iterator[str]:
        for path in self._by_name.get(PurePosixPath(name).name, []):
            if path == name or path.endswith(f"/{name}"):
                yield path[: len(path) - len(name)]
