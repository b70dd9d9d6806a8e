"""pure: the images of two folders, paired by name, and the scores of each pair."""

from __future__ import annotations

import filecmp
import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qsit_ray.data import images
from qsit_ray.data.readers.files import endings
from qsit_ray.errors import InputError
from qsit_ray.prompts import PAPER, Profile
from qsit_ray.rating import inputs
from qsit_ray.rating.pictures import name_of
from qsit_ray.rating.results import Reject, Score

ROUNDING = 1e-4
"""Of a level: two scores of one picture may differ by so much in float32, by their batches."""
NEAR = 0.1
"""Of a level: so far, at most, bfloat16 may move a picture's score by its neighbours in a batch."""
COLUMNS = ("name", "image_a", "image_b", "score_a", "score_b", "difference")
"""Of a pair's row."""


@dataclass(frozen=True)
class Pair:
    """The image files of A and B that have one name. `is_copy`: they have the same bytes."""

    name: str
    a: Path
    b: Path
    is_copy: bool


@dataclass(frozen=True)
class Pairing:
    """The pairs of two folders by name, and the images that only one of them has."""

    pairs: list[Pair]
    rejects: list[Reject]


@dataclass(frozen=True)
class ScoredPair:
    """The scores of a pair's images, in the profile's range."""

    pair: Pair
    score_a: float
    score_b: float

    @property
    def difference(self) -> float:
        """B - A."""
        return self.score_b - self.score_a

    def to_row(self) -> dict[str, Any]:
        """One flat row, of `COLUMNS`."""
        files = name_of(self.pair.a, 0), name_of(self.pair.b, 0)
        values = (self.pair.name, *files, self.score_a, self.score_b, self.difference)
        return dict(zip(COLUMNS, values, strict=True))


def paired(folder_a: Path, folder_b: Path) -> Pairing:
    """The images below two folders, paired by their paths from there without the ending.

    Two images of a folder may differ in the ending alone where the other folder has both of their
    names. Raises InputError for a folder that is none, for images that could be paired in several
    ways, and where there is no pair.
    """
    in_a, in_b = (_by_name(folder) for folder in (folder_a, folder_b))
    pairs, rejects = [], []
    for name in sorted(in_a.keys() | in_b.keys()):
        a, b = in_a.get(name, []), in_b.get(name, [])
        if a and b and (len(a) == len(b) == 1 or a == b):
            for of_a, of_b in zip(a, b, strict=True):
                paths = folder_a / of_a, folder_b / of_b
                shown = name_of(name if len(a) == 1 else of_a, 0)
                pairs.append(Pair(shown, *paths, _is_copy(*paths)))
        elif a and b:
            files = [str(folder_a / each) for each in a] + [str(folder_b / each) for each in b]
            raise InputError(f"{name_of(name, 0)}: which are a pair? {', '.join(files)}")
        else:
            here, there, names = (folder_a, folder_b, a) if a else (folder_b, folder_a, b)
            rejects += [_alone(here, each, there) for each in names]
    if not pairs:
        unknown = sorted({*_unknown_endings(folder_a), *_unknown_endings(folder_b)})
        also = f"; Pillow does not read {', '.join(unknown)}" if unknown else ""
        raise InputError(f"{folder_a}, {folder_b}: no two images have the same name{also}")
    return Pairing(pairs, rejects)


def sources(pairs: Iterable[Pair]) -> list[Path]:
    """The images to score, each once: of a pair A, then B unless it is a copy."""
    return [path for pair in pairs for path in ([pair.a] if pair.is_copy else [pair.a, pair.b])]


def scored(
    pairs: Iterable[Pair], found: Iterable[Score | Reject], profile: Profile = PAPER
) -> Iterator[ScoredPair | Reject]:
    """Of each pair its scores, or why one of its images has none; `found` is that of `sources`.
    Where two files of a pair have equal pixels, as a PNG and its BMP, they have A's score."""
    near = NEAR * _level(profile)
    coming = iter(found)
    for pair in pairs:
        a = next(coming)
        b = a if pair.is_copy else next(coming)
        if isinstance(a, Score) and isinstance(b, Score):
            is_same = 0 < abs(a.score - b.score) <= near and _is_same_picture(pair.a, pair.b)
            yield ScoredPair(pair, a.score, a.score if is_same else b.score)
        else:
            reasons = {each.reason: None for each in (a, b) if isinstance(each, Reject)}
            yield Reject(pair.name, "; ".join(reasons))
    if next(coming, None) is not None:  # which also ends the progress bar of `found`
        raise ValueError("more scores than images of pairs")


def worst(scored: Iterable[ScoredPair], most: int, rounding: float) -> list[ScoredPair]:
    """At most `most` pairs whose score falls by more than `rounding`, the largest drop first."""
    falling = [each for each in scored if each.difference < -rounding]
    return sorted(falling, key=lambda each: (each.difference, each.pair.name))[:most]


def best(scored: Iterable[ScoredPair], most: int, rounding: float) -> list[ScoredPair]:
    """As `worst`, of those that rise, the largest rise first."""
    rising = [each for each in scored if each.difference > rounding]
    return sorted(rising, key=lambda each: (-each.difference, each.pair.name))[:most]


def rounding_of(profile: Profile) -> float:
    """`ROUNDING` in the unit of a profile's scores."""
    return ROUNDING * _level(profile)


def _level(profile: Profile) -> float:
    """A level in the unit of a profile's scores."""
    low, high = profile.score_range
    return (high - low) / (len(profile.words) - 1)


def _by_name(folder: Path) -> dict[str, list[str]]:
    """The images below a folder by their paths without the ending."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found: dict[str, list[str]] = {}
    for each in inputs.below(folder):
        found.setdefault(str(Path(each).with_suffix("")), []).append(each)
    return found


def _is_copy(a: Path, b: Path) -> bool:
    try:
        return filecmp.cmp(a, b, shallow=False)
    except OSError:  # it is told where the image is read
        return False


def _is_same_picture(a: Path, b: Path) -> bool:
    try:
        if images.size(a) != images.size(b):
            return False
        return np.array_equal(np.asarray(images.read(a)), np.asarray(images.read(b)))
    except (InputError, OSError):  # gone since
        return False


def _unknown_endings(folder: Path) -> set[str]:
    """The endings of files below a folder that no format is known by."""
    files = (path for path in folder.rglob("*") if not path.name.startswith("."))
    found = {path.suffix.lower() for path in files if path.is_file()} - {""}
    return found - endings()


def _alone(folder: Path, image: str, other: Path) -> Reject:
    name, there = name_of(folder / image, 0), name_of(other, 0)
    place = other / image
    files = place.parent.glob(f"{glob.escape(place.stem)}.*")
    unread = sorted(
        name_of(file.name, 0)
        for file in files
        if file.is_file() and file.stem == place.stem and file.suffix.lower() not in endings()
    )
    reason = f"Pillow does not read {', '.join(unread)} of {there}" if unread else (
        f"{there} has no image of this name"
    )  # fmt: skip
    return Reject(name, f"{name}: {reason}")
