"""pure: training data in LLaVA's shape, as Q-SIT, Q-Instruct and LLaVA-Instruct ship it.

A record is {"id", "image", "conversations": [{"from", "value"}, …]}; `image` may be a list or
absent (text only). Q-SIT's scoring ids are "<file>-><MOS>", and its answers contain the released
level words; these are kept, not computed again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from qsit_ray.config.data import LlavaData
from qsit_ray.data import benchmarks
from qsit_ray.data.catalog import CatalogRow, Content, Question, Turn, image_path
from qsit_ray.data.encode import IMAGE
from qsit_ray.data.sizes import Sizes, sizes_of
from qsit_ray.errors import InputError
from qsit_ray.levels import LEVELS
from qsit_ray.prompts import multiple_choice_prompt

_LEVEL = re.compile(rf"\b({'|'.join(LEVELS)})\b", re.IGNORECASE)


def read(data: LlavaData, seed: int, report: Callable[[int, int, str], None]) -> Content:
    """Rows of all files of `data`; every record is a row or a reject.

    Each image is decoded once: a training record whose image is missing or broken is a reject.
    `validation_share` of the scoring rows is drawn by `seed` for validation (paper IV-A: 10 % of
    D1); interpreting is validated on the questions with answers. `report` gets what is done, out of
    how many, and of what.

    Image paths are relative to the catalog, whose images/ leads to `data.images`.

    Raises InputError naming a file that can't be read, and the row of a question or test image that
    can't be used: evaluation sets are never reduced.
    """
    content = Content()
    root = Path(data.images).absolute()
    files = [("scoring", name) for name in data.scoring]
    files += [("interpreting", name) for name in data.interpreting]
    files += [("general", name) for name in data.general]
    found: list[tuple[str, str, int, CatalogRow | str]] = []  # the row, or why there is none
    for done, (domain, name) in enumerate(files, start=1):
        for number, record in enumerate(benchmarks.records(Path(name)), start=1):
            found.append((name, domain, number, _row_or_reason(record, domain)))
        report(done, len(files), "files")
    asked = {
        "validation": benchmarks.questions(data.validation_questions, graded=False),
        "test": benchmarks.questions(data.test_questions, graded=True),
    }
    tested = [benchmarks.images(name, path) for name, path in data.test_images.items()]

    evaluated: list[benchmarks.Benchmark[Any]] = [*asked.values(), *tested]
    named = [row["photograph"] for _, _, _, row in found if not isinstance(row, str)]
    named += [name for each in evaluated for name in each.names]
    sizes = sizes_of(filter(None, named), root, lambda done, total: report(done, total, "images"))
    for each in evaluated:
        each.check(sizes)

    for name, domain, number, row in found:
        reason = row if isinstance(row, str) else _with_size(row, sizes, root)
        if reason is not None:
            content.rejects.append(
                {"file": name, "domain": domain, "record": number, "reason": reason}
            )
        elif not isinstance(row, str):
            content.train.append(row)
    _hold_out_validation(content, data.validation_share, seed)
    for question in asked["validation"].rows:
        row = _answered(question)
        _with_size(row, sizes, root)
        content.validation.append(row)
    content.questions = {split: each.rows for split, each in asked.items()}
    content.images["test"] = [row for each in tested for row in each.rows]
    return content


def _with_size(row: CatalogRow, sizes: Sizes, root: Path) -> str | None:
    """Give a row the size of its image, or return the reason why it has none."""
    name = row["photograph"]
    if name is None:
        row["height"] = row["width"] = None
        return None
    size = sizes[name]
    if isinstance(size, InputError):
        # By its name in the record: rejects, too, do not depend on where the images are.
        reason = str(size).removeprefix(f"{root / name}: ").replace(f"{root}/", "")
        kind, bracket, detail = reason.partition(" (")
        return f"{kind}: {name}{bracket}{detail}"
    row["height"], row["width"] = size
    return None


def _row_or_reason(record: Any, domain: str) -> CatalogRow | str:
    try:
        return _row(record, domain)
    except ValueError as error:
        return str(error)


def _row(record: Any, domain: str) -> CatalogRow:
    """One record as a catalog row. Raises ValueError with the reason it can't be one: its kind, and
    after a colon what differs from record to record."""
    if not isinstance(record, dict) or not isinstance(record.get("conversations"), list):
        raise ValueError("no list of conversations")
    images = record.get("image") or []
    images = [images] if isinstance(images, str) else images
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise ValueError("image is not a file name")
    if len(images) > 1:
        raise ValueError(f"{len(images)} images; one is supported")
    if not all(isinstance(turn, dict) for turn in record["conversations"]):
        raise ValueError("a turn is not an object")
    turns: list[Turn] = [
        {"from": t.get("from"), "value": t.get("value")} for t in record["conversations"]
    ]
    speakers = [turn["from"] for turn in turns]
    if not turns or speakers != ["human", "gpt"] * (len(turns) // 2):
        raise ValueError("turns must alternate human, gpt and end with gpt")
    if not all(isinstance(turn["value"], str) and turn["value"].strip() for turn in turns):
        raise ValueError("an empty turn")
    for text in (str(record.get("id", "")), *images, *(turn["value"] for turn in turns)):
        if not _is_unicode(text):
            raise ValueError(f"half of a surrogate pair, which is no character: {text!r:.60}")
    tokens = sum(turn["value"].count(IMAGE) for turn in turns)
    if tokens != len(images):
        raise ValueError(f"{len(images)} images but {IMAGE} {tokens} times")
    row: CatalogRow = {
        "id": str(record.get("id", "")),
        "domain": domain,
        "image": image_path(images[0]) if images else None,
        "conversation": turns,
        "mos": None,
        "level": None,
        "photograph": images[0] if images else None,
    }
    if domain == "scoring":
        if not images:
            raise ValueError("a scoring record without an image")
        row["mos"] = _mos(row["id"])
        found = _LEVEL.findall(turns[-1]["value"])
        if len(found) != 1:
            raise ValueError(f"{len(found)} level words in the answer; expected one")
        row["level"] = found[0].lower()
    return row


def _mos(identity: str) -> float:
    """The MOS of a Q-SIT scoring id, "<file>-><MOS>"."""
    _, arrow, text = identity.rpartition("->")
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not arrow or not np.isfinite(value):
        raise ValueError(f"no MOS in its id, expected <file>-><MOS>: {identity!r}")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _hold_out_validation(rows: Content, share: float, seed: int) -> None:
    """Move `share` of the scoring rows from training to validation."""
    scored = [row for row in rows.train if row["domain"] == "scoring"]
    chosen = np.random.default_rng([seed, len(scored)]).permutation(len(scored))
    held_out = {id(scored[i]) for i in chosen[: round(share * len(scored))]}
    rows.validation += [row for row in rows.train if id(row) in held_out]
    rows.train = [row for row in rows.train if id(row) not in held_out]
    rows.images["validation"] = [
        {
            "image": row["image"],
            "mos": row["mos"],
            "photograph": row["photograph"],
            "dataset": "validation",
        }
        for row in rows.validation
        if row["image"] is not None and row["mos"] is not None  # every scoring row has both
    ]


def _answered(question: Question) -> CatalogRow:
    """A question with its answer, as a row of the validation loss."""
    prompt = multiple_choice_prompt(question["question"], question["candidates"])
    return {
        "id": question["photograph"],
        "domain": "interpreting",
        "image": question["img_path"],
        "conversation": [
            {"from": "human", "value": prompt},
            {"from": "gpt", "value": question["correct_ans"]},
        ],
        "mos": None,
        "level": None,
        "photograph": question["photograph"],
    }
