"""pure: the audit of a catalog: images of two splits, repeated rows, labels that contradict.

Images are compared by the name of their file, by their bytes, and by perceptual hash (pHash of the
upright picture), which finds an image that was resized,
compressed again or cropped a little.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from qsit_ray.data import images, pack
from qsit_ray.data.catalog import Catalog, image_paths
from qsit_ray.errors import InputError
from qsit_ray.levels import LEVELS

NEAR = 8
"""Most differing bits, of 64, of two perceptual hashes of one picture: one that was resized,
compressed again or cropped by 2 % a side differs in no more, two pictures in some 32."""
LEAK = "an image of an evaluation set"
"""The kind of the rejects of `data.leaks: drop`."""
SHOWN = 5
CHUNK = 64
"""Hashes that are compared at a time with all of another split."""


@dataclass(frozen=True)
class Finding:
    """What was found: its kind, how often, and the first examples."""

    kind: str
    count: int
    examples: list[str]


def audit(
    catalog: Catalog,
    cut: Mapping[str, Sequence[int]],
    report: Callable[[int, int], None],
    levels: Sequence[str] = LEVELS,
) -> list[Finding]:
    """All findings of a catalog. `cut`: training rows whose answer a model's limit cuts, by model.
    `levels`: the level words, worst first. `report` gets the images read and their number."""
    scored = [*_scored(catalog.rows), *_scored(catalog.validation_rows)]
    splits = {"training": _distinct(image_paths(catalog.rows).to_pylist())}
    validation = image_paths(catalog.validation_rows).to_pylist()
    splits["validation"] = _distinct([*validation, *_benchmark(catalog, "validation")])
    splits["test"] = _distinct(_benchmark(catalog, "test"))
    files = _distinct(itertools.chain(*splits.values()))
    seen, unreadable = _signatures(partial(pack.place, catalog.folder), files, report)
    found = [
        Finding("image that can't be read", len(unreadable), unreadable[:SHOWN]),
        *_pairs(splits, seen),
        _repeated(catalog),
        _contradicting(scored),
        *_inverted(scored, levels),
        *(
            Finding(
                f"answer that is cut at the {which}'s models.max_length",
                len(rows),
                [f"{row['domain']} {row['id']}" for row in catalog.take(rows[:SHOWN])],
            )
            for which, rows in cut.items()
        ),
    ]
    return [finding for finding in found if finding.count]


def leaks(
    root: Path,
    trained: Iterable[str],
    evaluated: Iterable[str],
    report: Callable[[int, int], None],
) -> dict[str, str]:
    """Training images that are also evaluation images, by their bytes or look, and how they were
    found. Names are relative to `root`, a folder or a pack; images that can't be read are none."""
    splits = {"training": _distinct(trained), "evaluation": _distinct(evaluated)}
    files = _distinct(itertools.chain(*splits.values()))
    seen, _ = _signatures(partial(pack.find, root), files, report)
    known = [seen[name] for name in splits["evaluation"] if name in seen]
    contents = {signature.content for signature in known}
    others = [name for name in splits["training"] if name in seen]
    found = {name: "the same bytes" for name in others if seen[name].content in contents}
    different = [name for name in others if name not in found]
    near = _near(sorted({signature.look for signature in known}), different, seen)
    return found | dict.fromkeys(near, "the same look")


def same_names(first: Iterable[str], second: Iterable[str]) -> list[str]:
    """Images of `second` whose file has the name of one of `first`, in any folder."""
    names = {PurePosixPath(path).name.lower() for path in first}
    return [path for path in second if PurePosixPath(path).name.lower() in names]


@dataclass(frozen=True)
class _Signature:
    content: str
    look: int


def _signatures(
    find: Callable[[str], images.File], paths: Sequence[str], report: Callable[[int, int], None]
) -> tuple[dict[str, _Signature], list[str]]:
    """The signatures of the images, and those that can't be read, which had been when the catalog
    was built. Decoding leaves Python's lock, so threads read."""
    found: dict[str, _Signature] = {}
    unreadable = []
    with ThreadPoolExecutor(2 * len(os.sched_getaffinity(0))) as pool:
        read = pool.map(partial(_signature, find), paths)
        for number, (path, signature) in enumerate(zip(paths, read, strict=True), start=1):
            if signature is None:
                unreadable.append(path)
            else:
                found[path] = signature
            if number % 100 == 0 or number == len(paths):
                report(number, len(paths))
    return found, unreadable


def _signature(find: Callable[[str], images.File], path: str) -> _Signature | None:
    import imagehash  # lazily: only the audit needs it

    try:
        file = find(path)
        read = images.Content(file.read_bytes(), str(file))
        look = int(str(imagehash.phash(images.glance(read))), 16)
        return _Signature(hashlib.sha256(read.content).hexdigest(), look)
    except (InputError, OSError):
        return None


def _pairs(splits: Mapping[str, Sequence[str]], seen: Mapping[str, _Signature]) -> list[Finding]:
    found = []
    for first, second in (("training", "validation"), ("training", "test"), ("validation", "test")):
        between = f"{first} and {second}"
        named = same_names(splits[first], splits[second])
        known = [seen[path] for path in splits[first] if path in seen]
        others = [path for path in splits[second] if path in seen]
        contents = {signature.content for signature in known}
        equal = [path for path in others if seen[path].content in contents]
        different = [path for path in others if seen[path].content not in contents]
        near = _near(sorted({signature.look for signature in known}), different, seen)
        found += [
            Finding(f"image of {between}, by its name", len(named), named[:SHOWN]),
            Finding(f"image of {between}, by its bytes", len(equal), equal[:SHOWN]),
            Finding(f"image of {between}, by its look", len(near), near[:SHOWN]),
        ]
    return found


def _near(first: Sequence[int], paths: Sequence[str], seen: Mapping[str, _Signature]) -> list[str]:
    """The paths whose hash is at most `NEAR` bits from one of `first`."""
    if not first or not paths:
        return []
    known = np.array(first, np.uint64)
    looks = np.array([seen[path].look for path in paths], np.uint64)
    close: NDArray[np.bool_] = np.concatenate(
        [
            (np.bitwise_count(looks[start : start + CHUNK, None] ^ known) <= NEAR).any(axis=1)
            for start in range(0, len(looks), CHUNK)
        ]
    )
    return [path for path, hit in zip(paths, close.tolist(), strict=True) if hit]


def _repeated(catalog: Catalog) -> Finding:
    """Training rows with the images and turns of another of their domain."""
    first: dict[bytes, int] = {}
    again: list[tuple[int, int]] = []
    count = 0
    for batch in catalog.rows.select(["row", "domain", "images", "conversation"]).to_batches():
        for row in batch.to_pylist():
            shown = [image["path"] for image in row["images"]]
            said = [turn["value"] for turn in row["conversation"]]
            content = json.dumps([row["domain"], shown, said]).encode()
            key = hashlib.blake2b(content, digest_size=16).digest()
            known = first.setdefault(key, row["row"])
            if known != row["row"]:
                count += 1
                again += [(row["row"], known)] if len(again) < SHOWN else []
    pairs = [catalog.take(pair) for pair in again]
    examples = [f"{row['domain']} {row['id']} repeats {known['id']}" for row, known in pairs]
    return Finding("training row that repeats another", count, examples)


@dataclass(frozen=True)
class _Scored:
    path: str
    level: str
    mos: float | None
    dataset: str


def _scored(rows: pa.Table) -> list[_Scored]:
    """The rows with a level."""
    columns = rows.select(["images", "level", "mos", "dataset"])
    return [
        _Scored(row["images"][0]["path"], row["level"], row["mos"], row["dataset"])
        for batch in columns.filter(pc.is_valid(columns["level"])).to_batches()
        for row in batch.to_pylist()
    ]


def _contradicting(rows: Sequence[_Scored]) -> Finding:
    """Scored images with several levels."""
    levels: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        levels[row.path].add(row.level)
    several = [f"{path}: {', '.join(sorted(of))}" for path, of in levels.items() if len(of) > 1]
    return Finding("image with several levels", len(several), several[:SHOWN])


def _inverted(rows: Sequence[_Scored], levels: Sequence[str]) -> list[Finding]:
    """Rows whose level is below that of a row of the same data set with a lower MOS, or above that
    of one with a higher MOS. Where they are many the data set has scores of two scales."""
    of_set: dict[str, list[tuple[float, _Scored]]] = defaultdict(list)
    for row in rows:
        if row.mos is not None:
            of_set[row.dataset].append((row.mos, row))
    found = []
    for name, scored in of_set.items():
        scored.sort(key=lambda each: each[0])
        mos = np.array([each for each, _ in scored], float)
        level = np.array([levels.index(row.level) for _, row in scored])
        # Equal scores are compared with other scores alone.
        before = np.searchsorted(mos, mos, side="left")
        after = np.searchsorted(mos, mos, side="right")
        highest = np.concatenate([[-1], np.maximum.accumulate(level)])[before]
        lowest = np.concatenate([np.minimum.accumulate(level[::-1])[::-1], [len(levels)]])[after]
        wrong = np.flatnonzero((level < highest) | (level > lowest))
        shown = [scored[i] for i in wrong[:SHOWN].tolist()]
        examples = [f"{row.path}: {row.level} at {mos:g}" for mos, row in shown]
        found.append(Finding(f"level of {name} that contradicts its MOS", wrong.size, examples))
    return found


def _benchmark(catalog: Catalog, split: str) -> list[str]:
    if split not in catalog.manifest.benchmarks:
        return []
    shown = [row["image"] for row in catalog.images(split)]
    return shown + [question["img_path"] for question in catalog.questions(split)]


def _distinct(paths: Iterable[str]) -> list[str]:
    return list(Counter(paths))
