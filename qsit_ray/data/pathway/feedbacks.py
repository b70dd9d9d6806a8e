"""pure: feedbacks, the remarks of people on the quality of images, from Q-Pathway's files.

Q-Pathway: [{"image", "feedbacks": [{"q", "a"}]}]. Q-Instruct and LLaVA: records of one question and
one answer about an image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsit_ray import reading
from qsit_ray.data.encode import IMAGE
from qsit_ray.data.records import in_llavas_shape
from qsit_ray.reading import is_unicode


@dataclass(frozen=True)
class Feedback:
    """What a person wrote of an image. `question`: what was asked for, with <image> once. `id`:
    the image and the feedback's number among those of it, from 1."""

    id: str
    image: str
    question: str
    text: str


@dataclass(frozen=True)
class Feedbacks:
    """The feedbacks of a file, and its other records: their place and the reason."""

    feedbacks: list[Feedback]
    rejects: list[tuple[str, str]]


def read(path: Path) -> Feedbacks:
    """The feedbacks of a .json or .jsonl file; every one is read or rejected.

    Raises InputError where the file can't be read or is no list.
    """
    found = Feedbacks([], [])
    counts: dict[str, int] = {}
    for number, record in enumerate(reading.records(path), start=1):
        for place, each in _each(record, f"record {number}"):
            try:
                image, question, text = _checked(each)
            except ValueError as error:
                found.rejects.append((place, str(error)))
                continue
            counts[image] = counts.get(image, 0) + 1
            name = f"{image}#{counts[image]}"
            found.feedbacks.append(Feedback(name, image, question, text))
    return found


def _each(record: Any, place: str) -> Iterator[tuple[str, Any]]:
    """The feedbacks of a record, as (image, question, text) or whatever it holds instead."""
    if not isinstance(record, dict) or not isinstance(record.get("feedbacks"), list):
        yield place, record
        return
    if not record["feedbacks"]:
        yield place, None
    for number, each in enumerate(record["feedbacks"], start=1):
        shaped = each
        if isinstance(each, dict):
            shaped = {"image": record.get("image"), "conversations": [
                {"from": "human", "value": each.get("q")}, {"from": "gpt", "value": each.get("a")}
            ]}  # fmt: skip
        yield f"{place}, feedback {number}", shaped


def _checked(record: Any) -> tuple[str, str, str]:
    """Image, question and text. Raises ValueError with the reason it has none."""
    shaped = in_llavas_shape(record)
    images, turns = shaped["image"], shaped["conversations"]
    if len(images) != 1:
        raise ValueError(f"{len(images)} images; expected one")
    if [turn["from"] for turn in turns] != ["human", "gpt"]:
        raise ValueError("not one question with one answer")
    question, text = (turn["value"] for turn in turns)
    if not all(isinstance(each, str) and each.strip() for each in (question, text)):
        raise ValueError("an empty turn")
    if not all(map(is_unicode, (images[0], question, text))):
        raise ValueError("half of a surrogate pair, which is no character")
    if question.count(IMAGE) > 1 or IMAGE in text:
        raise ValueError(f"{IMAGE} more than once")
    if IMAGE not in question:
        question = f"{IMAGE}\n{question}"
    return images[0], question, text
