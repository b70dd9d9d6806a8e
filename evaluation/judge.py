"""pure: asks a judge many questions, a few at a time, and keeps every reply.

A call without a reply (see `evaluation.endpoint`) is repeated after a wait that doubles, with
jitter, and is never shorter than the server's Retry-After. A reply in which the rule finds no score
is asked for again, `asks` times in all. A refusal (a status such as 401) ends the run at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evaluation.endpoint import Connection, Endpoint, NoReply, connect
from evaluation.reply_log import Reply, ReplyLog
from qsit_ray.artifacts import digest
from qsit_ray.errors import InputError

FIRST_WAIT, LONGEST_BACKOFF = 1.0, 60.0  # seconds
# A server that asks for a longer pause than this (a day's quota is spent) is not waited for.
LONGEST_WAIT = 600.0  # seconds
# So many questions in a row without a reply mean that the endpoint is down, not the question.
FAILURES_IN_A_ROW = 3

Sleep = Callable[[float], Awaitable[None]]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Ask:
    """One question to the judge; `about` tells a reader of the log what it is about."""

    prompt: str
    round: int
    about: Mapping[str, Any] = field(default_factory=dict)

    def key(self, model: str) -> str:
        """What its replies are stored under: the judge, the prompt and the round."""
        return digest([model, self.prompt, self.round])


@dataclass
class Outcome:
    """What one run did: calls sent, those of them without a reply, the replies that came, and why
    some keys are not settled.
    """

    calls: int = 0
    failed: int = 0
    replies: list[Reply] = field(default_factory=list)
    unanswered: dict[str, str] = field(default_factory=dict)


def settled(replies: Sequence[Reply], asks: int) -> bool:
    """Whether a question needs no further asking: it has a score, or was asked `asks` times."""
    return len(replies) >= asks or any(reply.score is not None for reply in replies)


def ask_all(
    endpoint: Endpoint,
    asks: Mapping[str, Ask],
    log: ReplyLog,
    score_of: Callable[[str], int | None],
    *,
    sleep: Sleep = asyncio.sleep,
    progress: Progress = lambda done, total, note: None,
) -> Outcome:
    """Ask what the log does not settle yet; `asks` by their keys.

    Every reply lies in the log, whatever happens. Raises InputError where the endpoint refuses,
    after the calls under way have ended. Questions that got no reply are in the outcome's
    `unanswered`; when three in a row got none, no more are asked.
    """
    run = _Run(endpoint, asks, log, score_of, sleep, progress)
    asyncio.run(run.lanes())
    return run.outcome


class _Run:
    def __init__(
        self,
        endpoint: Endpoint,
        asks: Mapping[str, Ask],
        log: ReplyLog,
        score_of: Callable[[str], int | None],
        sleep: Sleep,
        progress: Progress,
    ):
        self.endpoint, self.asks, self.log = endpoint, asks, log
        self.score_of, self.sleep, self.progress = score_of, sleep, progress
        todo = [key for key in asks if not settled(log.replies(key), endpoint.asks)]
        self.waiting: Iterator[str] = iter(todo)
        self.done = len(asks) - len(todo)
        self.outcome = Outcome()
        self.failures = 0
        self.refusal: InputError | None = None
        self.stopped = ""  # why no more calls are made
        self.pauses: set[asyncio.Future[None]] = set()

    async def lanes(self) -> None:
        async with connect(self.endpoint) as connection, asyncio.TaskGroup() as group:
            for _ in range(self.endpoint.concurrency):
                group.create_task(self._lane(connection))
        if self.refusal is not None:
            raise self.refusal
        for key in self.waiting:
            self.outcome.unanswered[key] = self.stopped

    async def _lane(self, connection: Connection) -> None:
        while not self.stopped and (key := next(self.waiting, None)) is not None:
            try:
                await self._settle(connection, key)
            except InputError as error:
                self.refusal = self.refusal or error
                self._stop("the judge refused another call")
            except NoReply as reason:
                self.outcome.unanswered[key] = str(reason)
                self.failures += 1
                if self.failures >= FAILURES_IN_A_ROW:
                    self._stop(f"not asked: {FAILURES_IN_A_ROW} others in a row got no reply")

    async def _settle(self, connection: Connection, key: str) -> None:
        ask = self.asks[key]
        while not settled(self.log.replies(key), self.endpoint.asks):
            reply = await self._reply(connection, ask.prompt)
            self.log.append(key, {**ask.about, "judge": self.endpoint.model}, reply)
            self.outcome.replies.append(reply)
            self.failures = 0
        self.done += 1
        self.progress(self.done, len(self.asks), "")

    async def _reply(self, connection: Connection, prompt: str) -> Reply:
        attempt = 0
        while not self.stopped:
            attempt += 1
            self.outcome.calls += 1
            try:
                found = await connection.complete(prompt)
            except InputError:
                self.outcome.failed += 1
                raise
            except NoReply as reason:
                self.outcome.failed += 1
                if attempt == self.endpoint.attempts or reason.wait > LONGEST_WAIT:
                    raise
                self.progress(self.done, len(self.asks), f"will call again: {reason}"[:80])
                await self._pause(attempt, reason.wait)
            else:
                # The score is read before the text is cleaned: a key as short as "2" would
                # otherwise blank it.
                score, text = self.score_of(found.text), connection.clean(found.text)
                return Reply(score, text, found.prompt_tokens, found.completion_tokens)
        raise NoReply(self.stopped)

    async def _pause(self, attempt: int, asked: float) -> None:
        # Random, so that lanes which were turned away together don't come back together.
        backoff = min(LONGEST_BACKOFF, FIRST_WAIT * 2 ** (attempt - 1)) * random.uniform(0.5, 1)
        pause = asyncio.ensure_future(self.sleep(max(backoff, asked * random.uniform(1, 1.1))))
        self.pauses.add(pause)
        await asyncio.wait([pause])
        self.pauses.discard(pause)
        if not pause.cancelled():
            pause.result()

    def _stop(self, reason: str) -> None:
        """No new calls: those under way are paid for and may end, pauses are cut short."""
        self.stopped = self.stopped or reason
        for pause in self.pauses:
            pause.cancel()
