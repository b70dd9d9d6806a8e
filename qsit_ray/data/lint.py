"""pure: what a data file would do to a training elsewhere without a word: LLaVA-NeXT and ms-swift.

LLaVA-NeXT's loader takes all records under an unknown sampling_strategy and under `end:0`, draws
`random` anew in each process, and puts a neighbour in place of a row that it can't read. Both train
a conversation whose image tokens and images differ in number, with tokens that stand for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsit_ray import reading
from qsit_ray.config.files import read_yaml
from qsit_ray.data import llava_next
from qsit_ray.data.encode import IMAGE
from qsit_ray.data.records import OTHER_TOKENS, in_llavas_shape
from qsit_ray.errors import InputError


@dataclass(frozen=True)
class Trap:
    """Where it is, and what happens there."""

    place: str
    what: str


def lint(path: Path) -> list[Trap]:
    """The traps of a data YAML with its files, or of a file of records.

    Raises InputError for a file that can't be read at all.
    """
    if path.suffix.lower() not in llava_next.ENDINGS:
        return list(_records(path))
    content = read_yaml(path)
    entries = content.get("datasets") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise InputError(f"{path}: expected a key `datasets` with a list")
    traps: list[Trap] = []
    for number, entry in enumerate(entries, start=1):
        traps += _entry(path, f"{path}, data set {number}", entry)
    return traps


def _entry(path: Path, place: str, entry: Any) -> Iterator[Trap]:
    if not isinstance(entry, dict) or not isinstance(entry.get("json_path"), str):
        yield Trap(place, "no json_path: LLaVA-NeXT ends with a traceback")
        return
    file = path.parent / entry["json_path"]
    try:
        count = sum(1 for _ in reading.records(file))
    except InputError as error:
        yield Trap(place, str(error))
        return
    strategy = str(entry.get("sampling_strategy", "all"))
    rule, _, amount = strategy.partition(":")
    if rule not in ("all", *llava_next.RULES):
        yield Trap(place, f"sampling_strategy {strategy!r} is unknown: all {count:,} are taken")
    elif amount in ("0", "0%"):
        what = "all" if rule == "end" else "no"
        yield Trap(place, f"{strategy}: LLaVA-NeXT takes {what} records")
    elif rule == "random":
        yield Trap(place, f"{strategy} has no seed: each process and each restart draws anew")
    digits = amount.removesuffix("%")
    if digits.isdigit() and (int(digits) > 100 if "%" in amount else int(digits) > count):
        yield Trap(place, f"{strategy} asks for more than the {count:,} records: all are taken")
    for key in sorted(set(map(str, entry)) - {"json_path", "sampling_strategy"}):
        yield Trap(place, f"{key} is not read")
    yield from _records(file)


def _records(path: Path) -> Iterator[Trap]:
    for number, record in enumerate(reading.records(path), start=1):
        place = f"{path}, record {number}"
        yield from (Trap(place, what) for what in _record(record))


def _record(record: Any) -> Iterator[str]:
    text = str(record)
    if any(token in text for token in OTHER_TOKENS) and IMAGE not in text:
        yield f"{OTHER_TOKENS[0]} is no image token there: the image is not seen"
    try:
        shaped = in_llavas_shape(record)
    except ValueError as error:
        yield f"{error}: the row is replaced by a neighbour, or ends the training"
        return
    turns = shaped["conversations"]
    speakers = [turn["from"] for turn in turns]
    if speakers != ["human", "gpt"] * (len(turns) // 2) or not turns:
        yield "turns do not alternate human, gpt: a first turn that is not human's is dropped"
    values = [turn["value"] for turn in turns]
    if not all(isinstance(value, str) and value.strip() for value in values):
        yield "an empty turn: the model learns to answer with nothing"
    tokens = sum(value.count(IMAGE) for value in values if isinstance(value, str))
    if tokens != len(shaped["image"]):
        yield f"{len(shaped['image'])} images but {IMAGE} {tokens} times: what is seen is another"
    if any(isinstance(v, str) and IMAGE in v for v in values[1::2]):
        yield f"{IMAGE} in an answer: the model learns to write it"
