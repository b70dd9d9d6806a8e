"""pure: a configuration file for what was discovered in a folder, and the files that it needs.

Labels become D1 and test tables beside the file; everything else is taken where it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qsit_ray import artifacts
from qsit_ray.data import scoring
from qsit_ray.data.discovery import Found, Records
from qsit_ray.data.labels import Labels
from qsit_ray.errors import InputError
from qsit_ray.levels import Range
from qsit_ray.prompts import PAPER, Profile

HELD_OUT = 0.2
"""Share of a database's images in its test table where its owners say nothing, as in the paper's
SPAQ (IV-A)."""
RANGE = "dataset"


@dataclass(frozen=True)
class Draft:
    """What a configuration file takes. `databases`: the images of each whose labels became D1.
    `lacking`: settings for which nothing was found."""

    text: str
    databases: Mapping[str, int]
    lacking: Sequence[str]


@dataclass(frozen=True)
class _Scored:
    """Files made of a database's labels, and what is said of them."""

    name: str
    images: int
    train: Path
    test: Path | None
    said: str


def write(
    found: Found, root: Path, out: Path, base: str, seed: int, profile: Profile = PAPER
) -> Draft:
    """Write the configuration file `out`, and D1, worded as the `profile`, and test tables into the
    folder of its name.

    Labels of which no D1 can be made become unknown. Raises InputError for a file that can't be
    written.
    """
    made = out.absolute().with_suffix("")
    scored: list[_Scored] = []
    for labels in found.labels:
        names = [each.name for each in scored]
        name = labels.dataset
        while name in names:
            name += "_2"
        try:
            scored.append(_scored(replace(labels, dataset=name), root, made, seed, profile))
        except InputError as error:
            found.unknown.append((root.absolute() / labels.dataset, str(error)))
    draft = _draft(found, scored, root.absolute(), base, out.absolute())
    try:
        artifacts.write_text(out, draft.text)
    except OSError as error:
        raise InputError(f"{out}: can't write it: {error}") from None
    return draft


def _scored(labels: Labels, root: Path, folder: Path, seed: int, profile: Profile) -> _Scored:
    there = [row for row in labels.rows if (root / row.image).is_file()]
    own = any(row.split == scoring.TEST for row in there)
    split = scoring.hold_out(replace(labels, rows=there), HELD_OUT, seed)
    train, test = folder / f"{labels.dataset}.json", folder / f"{labels.dataset}_test.csv"
    records = scoring.records(split, Range.parse(RANGE), profile=profile)
    tested = scoring.table(split, scoring.TEST)
    folder.mkdir(parents=True, exist_ok=True)
    scoring.write(train, records)
    said = f"{labels.dataset}: {len(records.rows):,} images"
    if tested.rows:
        scoring.write(test, tested)
        which = "its owners' test split" if own else f"{HELD_OUT:.0%}, drawn by seed {seed},"
        said += f"; {which} is in {test.name}"
    if missing := len(labels.rows) - len(there):
        said += f"; {missing:,} images of its labels are not there"
    return _Scored(labels.dataset, len(there), train, test if tested.rows else None, said)


def _draft(found: Found, scored: Sequence[_Scored], root: Path, base: str, out: Path) -> Draft:
    lacking: list[str] = []

    def listed(name: str, paths: Sequence[Path], said: Sequence[str], meaning: str) -> str:
        lines = [f"  # {meaning}", *(f"  # {line}" for line in said)]
        if not paths:
            lacking.append(f"data.{name}")
            lines.append("  # Nothing was found; give at least one file.")
        return "\n".join([*lines, f"  {name}: {_json([str(path) for path in paths])}"])

    def of(use: str) -> list[Records]:
        return [each for each in found.records if each.use == use]

    def said(records: Sequence[Records]) -> list[str]:
        return [f"{each.file.name}: {each.count:,} records" for each in records]

    own = of("scoring")
    questions = sorted(of("questions"), key=lambda each: ("test" in each.file.stem.lower(),))
    asked, surplus = [_json(str(each.file)) for each in questions[:2]], questions[2:]
    taken = [each for each in found.records if each not in surplus]
    folders = {str(each.file): each.folder for each in taken if each.folder}
    if not questions:
        lacking.append("data.validation_questions")
    parts = [
        f"# What was found in {root}. Check it, then:\n"
        f"#   qsit data build RUN --preset {out}    the catalog, before anything is trained\n"
        f"#   qsit data audit RUN                   images of two splits, contradicting labels\n"
        f"#   qsit run --preset {out} --out RUN\n"
        f"# `qsit config show --preset {out}` prints every other setting.",
        f"# demo: small models, on a CPU. paper: the real ones, on GPUs.\nextends: {base}",
        "data:\n  source: llava\n  # The folder that the names of images are relative to …\n"
        f"  images: {_json(str(root))}",
        "  # … but those of these files, which are relative to a folder below it.\n"
        f"  folders: {_json(folders)}",
        listed(
            "scoring",
            [*(each.train for each in scored), *(each.file for each in own)],
            [*(each.said for each in scored), *said(own)],
            "D1: images with a level word.",
        ),
        listed(
            "interpreting",
            [each.file for each in of("interpreting")],
            said(of("interpreting")),
            "D2: questions on quality with answers.",
        ),
        listed(
            "general",
            [each.file for each in of("general")],
            said(of("general")),
            "D3: any other instructions.",
        ),
        "  # LLVisionQA-like questions with answers, on which interpreting is validated …\n"
        f"  validation_questions: {asked[0] if asked else 'null  # nothing was found'}",
        f"  # … and tested.\n  test_questions: {asked[1] if len(asked) > 1 else 'null'}",
        "  # Images with scores, on which scoring is tested.\n"
        f"  test_images: {_json({each.name: str(each.test) for each in scored if each.test})}",
    ]
    unused = [(each.file, "more questions than two files of them") for each in surplus]
    if found.unknown or unused:
        every = [*found.unknown, *unused]
        unknown = [f"#   {shown(path)}: {' '.join(reason.split())}" for path, reason in every]
        parts.append("\n".join(["# Not recognised:", *unknown]))
    return Draft("\n".join(parts) + "\n", {each.name: each.images for each in scored}, lacking)


def shown(path: Path) -> str:
    """A path as text that can be written, also where its name is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def _json(value: object) -> str:
    """JSON is YAML, with every name quoted."""
    return json.dumps(value, ensure_ascii=False)
