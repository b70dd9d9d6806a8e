"""pure: every reply of a judge, in an append-only JSON-lines file, so that none is paid for twice.

One line a reply: key (SHA-256 of judge, prompt and round), what it is about, score (null where the
reply is malformed), the reply itself and its tokens. A reply is written before anything else is
done with it, so a killed run loses only the calls that were under way.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import filelock

from qsit_ray.errors import InputError


@dataclass(frozen=True)
class Reply:
    """What a judge wrote; `score` is None where the rule finds none in it, tokens None where the
    endpoint told no usage.
    """

    score: int | None
    text: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class ReplyLog:
    """The replies to each key, in the order in which they came."""

    def __init__(self, path: Path, stream: IO[bytes], replies: Mapping[str, list[Reply]]):
        self.path = path
        self._stream = stream
        self._replies = defaultdict(list, replies)

    def replies(self, key: str) -> list[Reply]:
        return list(self._replies.get(key, []))

    def append(self, key: str, about: Mapping[str, Any], reply: Reply) -> None:
        """Raises InputError where the file can't be written."""
        line = json.dumps({"key": key, **about, **asdict(reply)}, allow_nan=False) + "\n"
        try:
            self._stream.write(line.encode())
            self._stream.flush()
        except OSError as error:
            raise InputError(f"{self.path}: can't write the reply: {error}") from None
        self._replies[key].append(reply)


@contextmanager
def open_log(path: Path) -> Iterator[ReplyLog]:
    """Open a log, new or old, for this process alone.

    A last line that a killed run left half written is cut off. Raises InputError for any other
    line that is no reply, for a file that can't be written, and where another process holds it.
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


def _read(path: Path, stream: IO[bytes]) -> dict[str, list[Reply]]:
    stream.seek(0)
    content = stream.read()
    whole, tail = content[: content.rfind(b"\n") + 1], content[content.rfind(b"\n") + 1 :]
    replies: dict[str, list[Reply]] = defaultdict(list)
    for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
        try:
            key, reply = _parse(line)
        except (ValueError, KeyError, TypeError) as error:
            wrong = f"not a judge's reply ({type(error).__name__}: {error})"
            raise InputError(f"{path}, line {number}: {wrong}") from None
        replies[key].append(reply)
    if tail:
        # It has no end, so it was being written when its process died. Its call was answered
        # but the answer is not all there: it is the one kind that is asked again.
        stream.truncate(len(whole))
    return replies


def _parse(line: bytes) -> tuple[str, Reply]:
    record = json.loads(line)
    reply = Reply(*(record[name] for name in Reply.__dataclass_fields__))
    if not isinstance(record["key"], str) or not isinstance(reply.text, str):
        raise ValueError("key and text must be texts")
    if reply.score is not None and (type(reply.score) is not int or reply.score not in (0, 1, 2)):
        raise ValueError(f"score {reply.score!r} is not 0, 1, 2 or null")
    for count in (reply.prompt_tokens, reply.completion_tokens):
        if count is not None and (type(count) is not int or count < 0):
            raise ValueError(f"{count!r} is no count of tokens")
    return record["key"], reply
