"""pure: every reply of a judge, in an append-only JSON-lines file, so that none is paid for twice.

One line a reply: key (SHA-256 of judge, prompt and round), the question's image, dimension and
round, score (null where the reply is malformed), text and tokens. A reply is written before it is
used, so a killed run loses only the calls that were under way.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

import filelock
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from qsit_ray.errors import InputError


class Reply(BaseModel, frozen=True, strict=True):
    """A judge's reply; `score` is None where the text has none, tokens where none are reported."""

    score: Annotated[int, Field(ge=0, le=2)] | None
    text: str
    prompt_tokens: NonNegativeInt | None
    completion_tokens: NonNegativeInt | None


class _Line(Reply, frozen=True, strict=True):
    key: str


@dataclass(frozen=True)
class ReplyLog:
    """The replies to each key, in the order in which they arrived."""

    path: Path
    stream: IO[bytes]
    by_key: defaultdict[str, list[Reply]]

    def replies(self, key: str) -> list[Reply]:
        return list(self.by_key.get(key, []))

    def score(self, key: str) -> int | None:
        """The first score, None where no reply has one."""
        return next((r.score for r in self.replies(key) if r.score is not None), None)

    def append(self, key: str, about: Mapping[str, str | int], reply: Reply) -> None:
        """Raises InputError where the file can't be written."""
        line = json.dumps({"key": key, **about, **reply.model_dump()}) + "\n"
        try:
            self.stream.write(line.encode())
            self.stream.flush()
        except OSError as error:
            raise InputError(f"{self.path}: can't write the reply: {error}") from None
        self.by_key[key].append(reply)


@contextmanager
def open_log(path: Path) -> Iterator[ReplyLog]:
    """Open a new or an existing log for this process alone.

    An incomplete last line, left by a killed run, is cut off. Raises InputError for any other line
    that is not a reply, for a file that can't be written, and where another process writes to it.
    """
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
            stack.enter_context(lock.acquire(timeout=0))
            stream = stack.enter_context(path.open("a+b"))
            replies = _read(path, stream)
        except filelock.Timeout:
            raise InputError(f"{path}: another process is writing to this file") from None
        except OSError as error:
            raise InputError(f"{path}: can't read and write it: {error}") from None
        yield ReplyLog(path, stream, replies)


def _read(path: Path, stream: IO[bytes]) -> defaultdict[str, list[Reply]]:
    stream.seek(0)
    content = stream.read()
    complete = content[: content.rfind(b"\n") + 1]
    replies: defaultdict[str, list[Reply]] = defaultdict(list)
    for number, text in enumerate(complete.split(b"\n")[:-1], start=1):
        try:
            line = _Line.model_validate_json(text)
        except ValidationError as error:
            wrong = error.errors()[0]
            why = " ".join([*map(str, wrong["loc"]), wrong["msg"]])
            raise InputError(f"{path}, line {number}: not a judge's reply: {why}") from None
        replies[line.key].append(line)
    # A line without an end was being written when its process died: its question is asked again.
    stream.truncate(len(complete))
    return replies
