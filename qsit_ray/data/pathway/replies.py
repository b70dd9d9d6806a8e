"""pure: every reply of the language model, in append-only JSON lines, so that none is paid twice.

Each process that asks appends to a file of its own in one folder, a reply a line: key, text and
tokens. A reply is written before it is used, so a killed run loses only the calls under way.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from qsit_ray.config.files import validated
from qsit_ray.endpoint import Completion
from qsit_ray.errors import InputError

REJECTED = "rejected: "
"""Begins the reason for which an endpoint refused one request, and will again."""


class Replies:
    """The replies in a folder, by key, and a file for new ones.

    Raises InputError naming a line that is not a reply.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / f"{uuid.uuid4().hex}.jsonl"
        self._by_key: defaultdict[str, list[Completion]] = defaultdict(list)
        for path in sorted(folder.glob("*.jsonl")):
            for key, reply in _lines(path):
                self._by_key[key].append(reply)

    def of(self, key: str) -> list[Completion]:
        """The replies to a request."""
        return list(self._by_key.get(key, []))

    def append(self, key: str, reply: Completion) -> None:
        """Keep a reply, on disk first."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"key": key, **asdict(reply)}) + "\n")
        self._by_key[key].append(reply)


def _lines(path: Path) -> Iterator[tuple[str, Completion]]:
    # A line without an end was being written when its process died: its request is asked again.
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            values = json.loads(line)
            key = values.pop("key")
        except (ValueError, LookupError, TypeError, AttributeError):
            raise InputError(f"{path}, line {number}: not a reply") from None
        yield key, validated(Completion, values, f"{path}, line {number}")
