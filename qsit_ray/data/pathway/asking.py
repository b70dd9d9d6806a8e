"""rim: asks the language model what its log does not answer yet, as a Ray Data job.

An actor has many calls under way at once. Each reply is on disk before anything else happens to it.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from qsit_ray.data.pathway import conversion
from qsit_ray.data.pathway.feedbacks import Feedback
from qsit_ray.data.pathway.questions import Request
from qsit_ray.data.pathway.replies import REJECTED, Replies
from qsit_ray.endpoint import Completion, Endpoint
from qsit_ray.errors import InputError
from qsit_ray.session import session

CALLS = 64
"""Calls of one actor at the same time; where more are asked for there are more actors."""
ROUNDS = 8
"""Requests of a block for each call of its actor at the same time: the last call of a block then
leaves few of the others waiting."""
FAILURES_IN_A_ROW = 3
"""So many requests in a row without a reply mean that the endpoint is down, not the request."""
REFUSED = "refused: "
"""Begins the reason of an endpoint that refuses every call."""


def ask(
    requests: Sequence[Request],
    endpoint: Endpoint,
    folder: Path,
    report: Callable[[int, int], None],
) -> dict[str, str]:
    """Ask all requests that the replies in `folder` do not settle. Returns, by key, the reason of
    those that got no reply; it begins with `REJECTED` where the request itself was refused.

    Raises InputError where the endpoint refuses, where `folder` can't be written or another process
    asks into it, and without the package `openai`.
    """
    try:
        import qsit_ray.chat  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"a model is asked through the package openai: install qsit_ray[judge] ({error})"
        ) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".lock").acquire(timeout=0):
            return _ask_pending(requests, endpoint, folder, report)
    except filelock.Timeout:
        raise InputError(f"{folder}: another process asks into this folder") from None
    except OSError as error:
        raise InputError(f"{folder}: can't write to it: {error}") from None


def _ask_pending(
    requests: Sequence[Request],
    endpoint: Endpoint,
    folder: Path,
    report: Callable[[int, int], None],
) -> dict[str, str]:
    known = Replies(folder)
    pending = conversion.pending(requests, known, endpoint)
    report(len(requests) - len(pending), len(requests))
    rows = [
        {"key": key, **asdict(each.feedback), "kind": each.kind, "wanted": each.wanted}
        for key, each in pending.items()
    ]
    if not rows:
        return {}
    # A few from here, at first: an endpoint that refuses or is down is then known in a moment.
    first, others = rows[:FAILURES_IN_A_ROW], rows[FAILURES_IN_A_ROW:]
    asker = Asker(endpoint, folder, 1, known)
    blocks: Iterable[dict[str, str]] = [
        dict(zip((row["key"] for row in first), asker.ask(first), strict=True))
    ]
    if asker.stopped.startswith(REFUSED):
        raise InputError(asker.stopped.removeprefix(REFUSED))
    if asker.stopped:
        blocks = [*blocks, dict.fromkeys((row["key"] for row in others), asker.stopped)]
    elif others:
        blocks = itertools.chain(blocks, _asked_in_ray(others, endpoint, folder))
    done = len(requests) - len(rows)
    unanswered: dict[str, str] = {}
    for errors in blocks:
        for key, reason in errors.items():
            if reason.startswith(REFUSED):
                raise InputError(reason.removeprefix(REFUSED))
            if reason:
                unanswered[key] = reason
        done += len(errors)
        report(done, len(requests))
    return unanswered


def _asked_in_ray(
    rows: Sequence[dict[str, str]], endpoint: Endpoint, folder: Path
) -> Iterator[dict[str, str]]:
    """By block, the reason for which each key got no reply, or nothing."""
    actors = math.ceil(min(endpoint.concurrency, len(rows)) / CALLS)
    calls = math.ceil(endpoint.concurrency / actors)
    blocks = math.ceil(len(rows) / (calls * ROUNDS))
    with session(processes=actors):
        import ray

        asked = ray.data.from_items(rows, override_num_blocks=max(blocks, actors)).map_batches(
            Asker,
            fn_constructor_args=(endpoint, folder, calls),
            batch_size=None,
            concurrency=actors,
        )
        for block in asked.iter_batches(batch_size=None):
            yield dict(zip(block["key"].tolist(), block["error"].tolist(), strict=True))


@dataclass
class Asker:
    """Asks the requests of a block, `calls` at a time. Ray Data makes one in each actor."""

    endpoint: Endpoint
    folder: Path
    calls: int
    replies: Replies | None = None  # read from the folder where they are not given
    failures: int = 0  # in a row
    stopped: str = ""

    def __call__(self, block: Mapping[str, Any]) -> dict[str, Any]:
        names = list(block)
        rows = [
            dict(zip(names, values, strict=True))
            for values in zip(*(block[name].tolist() for name in names), strict=True)
        ]
        errors = self.ask(rows)
        return {"key": np.array([row["key"] for row in rows]), "error": np.array(errors)}

    def ask(self, rows: Sequence[Mapping[str, str]]) -> list[str]:
        """The reason for which each row got no reply, or nothing."""
        return asyncio.run(self._ask(rows))

    async def _ask(self, rows: Sequence[Mapping[str, str]]) -> list[str]:
        from qsit_ray.chat import Chat, NoReply, RequestRefused

        gate = asyncio.Semaphore(self.calls)

        async def settle(chat: Chat, row: Mapping[str, str]) -> str:
            async with gate:
                if self.stopped:
                    return self.stopped
                try:
                    await self._settle(chat, row)
                except NoReply as reason:
                    self.failures += 1
                    if self.failures >= FAILURES_IN_A_ROW:
                        self.stopped = f"not asked: {FAILURES_IN_A_ROW} others got no reply"
                        chat.stop(self.stopped)
                    return str(reason)
                except RequestRefused as error:
                    return f"{REJECTED}{error}"
                except InputError as error:
                    self.stopped = f"{REFUSED}{error}"
                    chat.stop(self.stopped)
                    return self.stopped
                self.failures = 0
                return ""

        async with Chat(self.endpoint) as chat:
            return await asyncio.gather(*(settle(chat, row) for row in rows))

    async def _settle(self, chat: Any, row: Mapping[str, str]) -> None:
        feedback = Feedback(row["id"], row["image"], row["question"], row["text"])
        request = Request(feedback, row["kind"], row["wanted"])  # type: ignore[arg-type]
        key, known = row["key"], self.replies or Replies(self.folder)
        self.replies = known
        while not conversion.settled(request, known.of(key), self.endpoint.asks):
            found = await chat.complete(request.messages, **request.settings)
            text = chat.clean(found.text)
            known.append(key, Completion(text, found.prompt_tokens, found.completion_tokens))
