"""pure: LLaVA-NeXT's data YAML: files of records, each with a rule for the part that is taken.

    datasets:
      - {json_path: d2.json, sampling_strategy: "random:22%"}

`all` (the default), `first:N`, `end:N` and `random:N`; N may be a whole percentage, of which the
number of records is rounded up. What LLaVA-NeXT passes over in silence is refused: an unknown rule
(there: all records), `end:0` (all), more records than there are (as many as there are) and other
keys. `random` is seeded, where there each process and each restart draws anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsit_ray import reading
from qsit_ray.artifacts import path_of
from qsit_ray.config.files import read_yaml
from qsit_ray.errors import InputError

ENDINGS = (".yaml", ".yml")
RULES = ("first", "end", "random")


@dataclass(frozen=True)
class Part:
    """A file of a mix and its rule; `count` is None for `all`, and a share where `percent`."""

    file: Path
    rule: str = "all"
    count: int | None = None
    percent: bool = False

    def taken(self, records: int, seed: tuple[int, int]) -> NDArray[np.bool_]:
        """Which of the records are taken. Raises ValueError for more than there are."""
        if self.count is None:
            return np.ones(records, np.bool_)
        wanted = -(-self.count * records // 100) if self.percent else self.count
        if wanted > records:
            raise ValueError(f"asks for {wanted:,} of {records:,} records")
        places = np.arange(records)
        if self.rule == "random":
            return np.isin(places, np.random.default_rng(seed).permutation(records)[:wanted])
        return places >= records - wanted if self.rule == "end" else places < wanted


def records(name: str, seed: int) -> Iterator[tuple[str, int, Any]]:
    """The records of a domain's file, or of a mix: the file, the record's number in it from 1, and
    the record.

    Raises InputError naming the file that can't be read, and a rule that can't be followed.
    """
    path = path_of(name)
    if path.suffix.lower() not in ENDINGS:
        yield from ((name, i, each) for i, each in enumerate(reading.records(path), start=1))
        return
    for number, part in enumerate(parts(path)):
        if part.count is None:
            taken = None
        else:
            count = sum(1 for _ in reading.records(part.file))
            try:
                taken = part.taken(count, (seed, number))
            except ValueError as error:
                raise InputError(f"{path}, data set {number + 1}: {part.file} {error}") from None
        for row, record in enumerate(reading.records(part.file)):
            if taken is None or taken[row]:
                yield str(part.file), row + 1, record


def parts(path: Path) -> list[Part]:
    """The files and rules of a mix, in its order. Raises InputError naming the data set that is
    wrong."""
    content = read_yaml(path)
    entries = content.get("datasets") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries or set(content) != {"datasets"}:
        raise InputError(f"{path}: expected one key, `datasets`, with a list")
    found = []
    for number, entry in enumerate(entries, start=1):
        try:
            found.append(_part(path.parent, entry))
        except ValueError as error:
            raise InputError(f"{path}, data set {number}: {error}") from None
    return found


def _part(folder: Path, entry: Any) -> Part:
    if not isinstance(entry, dict) or not isinstance(entry.get("json_path"), str):
        raise ValueError("no json_path")
    if unknown := set(entry) - {"json_path", "sampling_strategy"}:
        raise ValueError(f"unknown key {', '.join(sorted(map(str, unknown)))}")
    file = folder / entry["json_path"]
    strategy = str(entry.get("sampling_strategy", "all"))
    rule, colon, amount = strategy.partition(":")
    if strategy == "all":
        return Part(file)
    percent = amount.endswith("%")
    digits = amount.removesuffix("%")
    if rule not in RULES or not colon or not (digits.isascii() and digits.isdigit()):
        raise ValueError(
            f"sampling_strategy {strategy!r}; expected all, first:N, end:N or random:N, "
            "N a number or a whole percentage such as 22%"
        )
    count = int(digits)
    if count == 0 or (percent and count > 100):
        raise ValueError(f"sampling_strategy {strategy!r} takes no part of the records")
    return Part(file, rule, count, percent)
