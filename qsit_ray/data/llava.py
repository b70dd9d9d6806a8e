"""pure: training data in LLaVA's shape, as Q-SIT, Q-Instruct and LLaVA-Instruct ship it.

A record is {"id", "image", "conversations": [{"from", "value"}, …]}; `image` is a name, a list of
names, one for each image token, or absent (text only). Other shapes are turned into this one
(`qsit_ray.data.records`). Q-SIT's scoring ids are "<file>-><MOS>",
and its answers contain the released level words; these are kept, not computed again.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qsit_ray import soft_levels
from qsit_ray.config.data import LlavaData
from qsit_ray.data import benchmarks, llava_next
from qsit_ray.data.audit import LEAK, leaks
from qsit_ray.data.benchmarks import placed
from qsit_ray.data.catalog import CatalogRow, Content, Question, RowImage, Turn, image_path
from qsit_ray.data.encode import IMAGE
from qsit_ray.data.records import in_llavas_shape
from qsit_ray.data.sizes import Sizes, sizes_of
from qsit_ray.errors import InputError
from qsit_ray.levels import LEVELS
from qsit_ray.prompts import multiple_choice_prompt
from qsit_ray.reading import is_unicode

_LEVEL = re.compile(rf"\b({'|'.join(LEVELS)})\b", re.IGNORECASE)


def read(data: LlavaData, seed: int, report: Callable[[int, int, str], None]) -> Content:
    """Rows of all files of `data`; every record is a row or a reject.

    Each image is decoded once: a training record whose image is missing or broken is a reject.
    `validation_share` of the scoring images is drawn by `seed` for validation (paper IV-A: 10 % of
    D1), the same share of each data set and level; interpreting is validated on the questions with
    answers. `report` gets what is done, out of how many, and of what.

    Image paths are relative to the catalog, whose images/ leads to `data.images`.

    Raises InputError naming a file that can't be read, and the row of a question or test image that
    can't be used: evaluation sets are never reduced.
    """
    content = Content()
    root = Path(data.images).absolute()
    files = [("scoring", name) for name in data.scoring]
    files += [("interpreting", name) for name in data.interpreting]
    files += [("general", name) for name in data.general]
    found: list[tuple[str, str, int, Parsed | str]] = []  # the row, or why there is none
    folders = Folders(data)
    for done, (domain, name) in enumerate(files, start=1):
        for file, number, record in llava_next.records(name, seed):
            parsed = _parsed_or_reason(record, domain, Path(file).stem, folders.of(name, file))
            found.append((file, domain, number, parsed))
        report(done, len(files), "files")
    questions = {"validation": data.validation_questions, "test": data.test_questions}
    asked = {
        split: benchmarks.questions(name, folders.of(name), graded=split == "test")
        for split, name in questions.items()
    }
    tested = [
        benchmarks.images(name, path, folders.of(path)) for name, path in data.test_images.items()
    ]
    folders.check()

    evaluated: list[benchmarks.Benchmark[Any]] = [*asked.values(), *tested]
    named = [n for _, _, _, each in found if not isinstance(each, str) for n in each.images]
    asked_of = [name for each in evaluated for name in each.names]
    sizes = sizes_of(
        [*named, *asked_of],
        root,
        lambda done, total: report(done, total, "images"),
        data.outside == "allow",
    )
    for each in evaluated:
        each.check(sizes)
    leaked: dict[str, str] = {}
    if data.leaks == "drop":
        compared = [name for name in named if not isinstance(sizes[name], InputError)]
        leaked = leaks(
            root, compared, asked_of, lambda done, total: report(done, total, "images compared")
        )

    for name, domain, number, parsed in found:
        reason = parsed if isinstance(parsed, str) else _with_sizes(parsed, sizes, root)
        if not isinstance(parsed, str) and reason is None:
            reason = next(
                (f"{LEAK}: {n} ({leaked[n]})" for n in parsed.images if n in leaked), None
            )
        if reason is not None:
            content.rejects.append(
                {"file": name, "domain": domain, "record": number, "reason": reason}
            )
        elif not isinstance(parsed, str):
            content.train.append(parsed.row)
    _hold_out_validation(content, data.validation_share, seed)
    for question in asked["validation"].rows:
        answered = _answered(question)
        _with_sizes(answered, sizes, root)
        content.validation.append(answered.row)
    content.questions = {split: each.rows for split, each in asked.items()}
    content.images["test"] = [row for each in tested for row in each.rows]
    return content


class Folders:
    """The folders below `data.images` that the image names of the files are relative to."""

    def __init__(self, data: LlavaData) -> None:
        self._folders = data.folders
        self._asked: set[str] = set()

    def of(self, *files: str | None) -> str:
        """The folder of the last of the files that has one, ending with a slash; or nothing."""
        self._asked.update(filter(None, files))
        found = [self._folders[file] for file in files if file in self._folders]
        return f"{found[-1].rstrip('/')}/" if found else ""

    def check(self) -> None:
        """Raises InputError for a folder of a file that is not read."""
        if unknown := sorted(set(self._folders) - self._asked):
            raise InputError(f"data.folders: {unknown[0]} is none of the data's files")


@dataclass(frozen=True)
class Parsed:
    """A row without its images, and their names below the folder of images."""

    row: CatalogRow
    images: list[str]


def _with_sizes(parsed: Parsed, sizes: Sizes, root: Path) -> str | None:
    """Give a row its images, or return the reason why it lacks one."""
    shown: list[RowImage] = []
    for name in parsed.images:
        size = sizes[name]
        if isinstance(size, InputError):
            # By its name in the record: rejects, too, do not depend on where the images are.
            reason = str(size).removeprefix(f"{root / name}: ").replace(f"{root}/", "")
            kind, bracket, detail = reason.partition(" (")
            return f"{kind}: {name}{bracket}{detail}"
        shown.append({"path": image_path(name), "height": size[0], "width": size[1]})
    parsed.row["images"] = shown
    return None


def _parsed_or_reason(record: Any, domain: str, dataset: str, folder: str) -> Parsed | str:
    try:
        return _parsed(record, domain, dataset, folder)
    except ValueError as error:
        return str(error)


def _parsed(record: Any, domain: str, dataset: str, folder: str) -> Parsed:
    """One record as a catalog row of the data set that it names, or else of `dataset`, its images
    in `folder`. Raises ValueError with the reason it can't be one: its kind, and after a colon what
    differs from record to record."""
    record = in_llavas_shape(record)
    images: list[str] = [placed(folder, name) for name in record["image"]]
    turns: list[Turn] = record["conversations"]
    speakers = [turn["from"] for turn in turns]
    if not turns or speakers != ["human", "gpt"] * (len(turns) // 2):
        raise ValueError("turns must alternate human, gpt and end with gpt")
    if not all(isinstance(turn["value"], str) and turn["value"].strip() for turn in turns):
        raise ValueError("an empty turn")
    named = [str(record.get(key, "")) for key in ("id", "dataset", "reference")]
    for text in (*named, *images, *(turn["value"] for turn in turns)):
        if not is_unicode(text):
            raise ValueError(f"half of a surrogate pair, which is no character: {text!r:.60}")
    tokens = sum(turn["value"].count(IMAGE) for turn in turns)
    if tokens != len(images):
        raise ValueError(f"{len(images)} images but {IMAGE} {tokens} times")
    row: CatalogRow = {
        "id": str(record.get("id", "")),
        "domain": domain,
        "images": [],
        "conversation": turns,
        "mos": None,
        "level": None,
        "photograph": _photograph(record, images),
        "dataset": str(record.get("dataset") or dataset),
    }
    if domain == "scoring":
        if len(images) != 1:
            raise ValueError(f"a scoring record with {len(images)} images; expected one")
        row["mos"] = _mos(row["id"], record.get("gt_score"))
        found = _LEVEL.findall(turns[-1]["value"])
        if len(found) != 1:
            raise ValueError(f"{len(found)} level words in the answer; expected one")
        row["level"] = found[0].lower()
        if record.get("level_probs") is not None:
            row["level_shares"] = soft_levels.checked(record["level_probs"])
    return Parsed(row, images)


def _photograph(record: dict[str, Any], images: list[str]) -> str | None:
    """What the first image was made of: itself, or the `reference` that the record names."""
    reference = record.get("reference")
    if isinstance(reference, str) and reference:
        return f"{record.get('dataset', '')}/{reference}"
    return images[0] if images else None


def _mos(identity: str, given: Any) -> float:
    """The MOS of a Q-SIT scoring id, "<file>-><MOS>", or else the `given` one (Q-Align's
    gt_score)."""
    _, arrow, text = identity.rpartition("->")
    try:
        value = float(text if arrow else given)
    except (TypeError, ValueError):
        value = float("nan")
    if not np.isfinite(value):
        raise ValueError(f"no MOS in its id, expected <file>-><MOS>: {identity!r}")
    return value


def _hold_out_validation(rows: Content, share: float, seed: int) -> None:
    """Move the scoring rows of `share` of the photographs from training to validation.

    The rows of a photograph, or of several images made of it, stay together. Its first row says
    what it is of: its data set and level, of which validation gets the same share as of all. A data
    set of four photographs or more has two in validation at least, as SRCC needs.
    """
    of_image: dict[str, str | None] = {}  # an image is of one photograph, whatever later rows say
    first: dict[str | None, CatalogRow] = {}
    for row in rows.train:
        if row["domain"] == "scoring":
            photograph = of_image.setdefault(row["images"][0]["path"], row["photograph"])
            first.setdefault(photograph, row)
    groups = list(first)
    chance = np.random.default_rng([seed, len(groups)]).random(len(groups))
    order = sorted(
        range(len(groups)),
        key=lambda i: (first[groups[i]]["dataset"], first[groups[i]]["level"] or "", chance[i]),
    )
    # Evenly spaced places of this order: each data set and level has its share to within one.
    ends = np.arange(len(groups) + 1) * round(share * len(groups)) // max(len(groups), 1)
    held_out = {groups[order[i]] for i in np.flatnonzero(np.diff(ends))}
    for _, of_set in itertools.groupby(
        (groups[place] for place in order), key=lambda group: first[group]["dataset"]
    ):
        few = list(of_set)
        if len(few) >= 4 and len(held_out.intersection(few)) < 2:
            held_out = (held_out - set(few)) | {few[len(few) // 4], few[-1 - len(few) // 4]}
    kept: list[CatalogRow] = []
    shown: dict[str, CatalogRow] = {}
    for row in rows.train:
        path = row["images"][0]["path"] if row["domain"] == "scoring" else None
        if path is not None and of_image[path] in held_out:
            rows.validation.append(row)
            shown.setdefault(path, row)
        else:
            kept.append(row)
    rows.train = kept
    rows.images["validation"] = [
        {
            "image": path,
            "mos": row["mos"],
            "photograph": row["photograph"],
            "dataset": row["dataset"],
        }
        for path, row in shown.items()
        if row["mos"] is not None  # every scoring row has one
    ]


def _answered(question: Question) -> Parsed:
    """A question with its answer, as a row of the validation loss."""
    prompt = multiple_choice_prompt(question["question"], question["candidates"])
    row: CatalogRow = {
        "id": question["photograph"],
        "domain": "interpreting",
        "images": [],
        "conversation": [
            {"from": "human", "value": prompt},
            {"from": "gpt", "value": question["correct_ans"]},
        ],
        "mos": None,
        "level": None,
        "photograph": question["photograph"],
        "dataset": "questions",
    }
    return Parsed(row, [question["photograph"]])
