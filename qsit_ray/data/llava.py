"""pure: training data in LLaVA's shape, as Q-SIT, Q-Instruct and LLaVA-Instruct ship it.

A record is {"id", "image", "conversations": [{"from", "value"}, …]}; `image` may be a list or
absent (text only). Q-SIT's scoring ids are "<file>-><MOS>", and its answers contain the released
level words; these are kept, not computed again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from qsit_ray import artifacts, tables
from qsit_ray.config.data import LlavaData
from qsit_ray.data.catalog import BenchmarkImage, CatalogRow, Content, Question, Turn
from qsit_ray.data.encode import IMAGE
from qsit_ray.errors import InputError
from qsit_ray.levels import LEVELS
from qsit_ray.prompts import multiple_choice_prompt

_LEVEL = re.compile(rf"\b({'|'.join(LEVELS)})\b", re.IGNORECASE)


def read(data: LlavaData, seed: int, report: Callable[[int, int], None]) -> Content:
    """Rows of all files of `data`; every record is a row or a reject.

    `validation_share` of the scoring rows is drawn by `seed` for validation (paper IV-A: 10 % of
    D1); interpreting is validated on the questions with answers.

    Raises InputError naming a file that can't be read.
    """
    rows = Content()
    root = Path(data.images).absolute()
    files = [("scoring", name) for name in data.scoring]
    files += [("interpreting", name) for name in data.interpreting]
    files += [("general", name) for name in data.general]
    for done, (domain, name) in enumerate(files, start=1):
        for number, record in _records(Path(name)):
            try:
                rows.train.append(_row(record, domain, root))
            except ValueError as error:
                rows.rejects.append({"file": name, "record": number, "reason": str(error)})
        report(done, len(files))
    _hold_out_validation(rows, data.validation_share, seed)
    for split, path in (("validation", data.validation_questions), ("test", data.test_questions)):
        rows.questions[split] = _questions(Path(path), root) if path else []
    rows.validation += [_answered(question) for question in rows.questions["validation"]]
    rows.images["test"] = [
        row for name, path in data.test_images.items() for row in _benchmark(name, path, root)
    ]
    return rows


def _row(record: Any, domain: str, root: Path) -> CatalogRow:
    """One record as a catalog row. Raises ValueError with the reason it can't be one."""
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
    tokens = sum(turn["value"].count(IMAGE) for turn in turns)
    if tokens != len(images):
        raise ValueError(f"{len(images)} images but {IMAGE} {tokens} times")
    row: CatalogRow = {
        "id": str(record.get("id", "")),
        "domain": domain,
        "image": str(root / images[0]) if images else None,
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
        raise ValueError(f"id {identity!r} has no MOS; expected <file>-><MOS>")
    return value


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    """(number from 1, record) of a .json list or a .jsonl file."""
    records = artifacts.read_jsonl(path) if path.suffix == ".jsonl" else artifacts.read_json(path)
    if not isinstance(records, list):
        raise InputError(f"{path}: expected a list of records")
    yield from enumerate(records, start=1)


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


def _questions(path: Path, root: Path) -> list[Question]:
    """LLVisionQA questions with their answers, images below `root`."""
    questions: list[Question] = []
    for number, question in _records(path):
        if not isinstance(question, dict):
            raise InputError(f"{path}, question {number}: not an object")
        missing = {"question", "img_path", "candidates", "correct_ans"} - set(question)
        if missing:
            raise InputError(f"{path}, question {number}: {', '.join(sorted(missing))} missing")
        if question["correct_ans"] not in question["candidates"]:
            raise InputError(f"{path}, question {number}: correct_ans is none of the candidates")
        image = question["img_path"]
        extended = {**question, "img_path": str(root / image), "photograph": image}
        questions.append(cast(Question, extended))
    return questions


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


def _benchmark(dataset: str, path: str, root: Path) -> list[BenchmarkImage]:
    """Images and MOS of one test set: a table with the columns image and mos."""
    table = tables.read(Path(path))
    images, scores = table.labels("image"), table.numbers("mos")
    return [
        {"image": str(root / image), "mos": float(mos), "photograph": image, "dataset": dataset}
        for image, mos in zip(images, scores, strict=True)
    ]
