"""pure: training data in LLaVA's shape, as Q-SIT, Q-Instruct and LLaVA-Instruct ship it.

A record is {"id", "image", "conversations": [{"from", "value"}, …]}; `image` is a name, a list of
names, one for each image token, or absent (text only). Other shapes are turned into this one
(`qsit_ray.data.records`). Q-SIT's scoring ids are "<file>-><MOS>",
and its answers contain the released level words; these are kept, not computed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qsit_ray import soft_levels
from qsit_ray.data.benchmarks import placed
from qsit_ray.data.catalog import CatalogRow, Question, Turn
from qsit_ray.data.encode import IMAGE
from qsit_ray.data.records import in_llavas_shape
from qsit_ray.prompts import levels_in, multiple_choice_prompt
from qsit_ray.reading import is_unicode


@dataclass(frozen=True)
class Parsed:
    """A row without its images, and their names below the folder of images."""

    row: CatalogRow
    images: list[str]


def parsed(
    record: Any, domain: str, dataset: str, folder: str, levels: tuple[str, ...] | None
) -> Parsed:
    """One record as a catalog row of the data set that it names, or else of `dataset`, its images
    in `folder`; with `levels` it has a MOS and one of these words. Raises ValueError with the
    reason it can't be one: its kind, and after a colon what differs from record to record."""
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
    if levels is not None:
        if len(images) != 1:
            raise ValueError(f"a scoring record with {len(images)} images; expected one")
        row["mos"] = _mos(row["id"], record.get("gt_score"))
        found = levels_in(turns[-1]["value"], levels)
        if len(found) != 1:
            raise ValueError(f"{len(found)} level words in the answer; expected one")
        (row["level"],) = found
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


def answered(question: Question, form: str) -> CatalogRow:
    """A question with its answer, as a row of the validation loss, asked in that form; without its
    image."""
    prompt = multiple_choice_prompt(question["question"], question["candidates"], form)
    return {
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
