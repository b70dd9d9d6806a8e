"""pure: asks a judge what the log does not answer yet."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from qsit_ray.chat import Chat, NoReply
from qsit_ray.endpoint import Endpoint
from qsit_ray.errors import InputError
from qsit_ray.evaluation.lldescribe.judge import Progress, Question
from qsit_ray.evaluation.lldescribe.log import Reply, ReplyLog
from qsit_ray.evaluation.lldescribe.rubric import read_score

# So many questions in a row without a reply mean that the endpoint is down, not the question.
FAILURES_IN_A_ROW = 3


def ask_all(
    endpoint: Endpoint, questions: Mapping[str, Question], log: ReplyLog, progress: Progress
) -> Run:
    """Ask the questions, {key: question}, that the log does not settle yet.

    A reply with a score settles a question, and so do `endpoint.asks` replies. Every reply is in
    the log even if the run fails. After three questions in a row without a reply no more are asked.
    Raises InputError where the endpoint refuses, after the calls under way have ended.
    """
    run = Run(endpoint, questions, log, progress)
    asyncio.run(run.ask())
    if run.refusal is not None:
        raise run.refusal
    return run


@dataclass
class Run:
    """The state that the lanes of one run share; each lane asks one question at a time.

    The result: `calls` sent, `replies` received, and the reasons for which keys are `unanswered`.
    """

    endpoint: Endpoint
    questions: Mapping[str, Question]
    log: ReplyLog
    progress: Progress
    replies: list[Reply] = field(default_factory=list)
    unanswered: dict[str, str] = field(default_factory=dict)
    waiting: deque[str] = field(default_factory=deque)
    done: int = 0
    failures: int = 0  # in a row
    refusal: InputError | None = None

    def __post_init__(self) -> None:
        self.chat = Chat(self.endpoint, self._repeated)

    @property
    def calls(self) -> int:
        return self.chat.calls

    def is_settled(self, key: str) -> bool:
        enough = len(self.log.replies(key)) >= self.endpoint.asks
        return enough or self.log.score(key) is not None

    async def ask(self) -> None:
        todo = [key for key in self.questions if not self.is_settled(key)]
        self.waiting, self.done = deque(todo), len(self.questions) - len(todo)
        async with self.chat, asyncio.TaskGroup() as lanes:
            for _ in range(self.endpoint.concurrency):
                lanes.create_task(self._lane())
        self.unanswered |= dict.fromkeys(self.waiting, self.chat.stopped)

    async def _lane(self) -> None:
        while self.waiting and not self.chat.stopped:
            key = self.waiting.popleft()
            try:
                await self._settle(key)
            except InputError as error:
                self.refusal = self.refusal or error
                self.chat.stop("the judge refused another call")
            except NoReply as reason:
                self.unanswered[key] = str(reason)
                self.failures += 1
                if self.failures >= FAILURES_IN_A_ROW:
                    self.chat.stop(f"not asked: {FAILURES_IN_A_ROW} others in a row got no reply")

    async def _settle(self, key: str) -> None:
        question = self.questions[key]
        while not self.is_settled(key):
            found = await self.chat.complete([{"role": "user", "content": question.prompt}])
            # The score is read before the text is cleaned: a key as short as "2" would remove it.
            cleaned = {**asdict(found), "text": self.chat.clean(found.text)}
            reply = Reply(score=read_score(found.text), **cleaned)
            self.log.append(key, {**question.place, "judge": self.endpoint.model}, reply)
            self.replies.append(reply)
            self.failures = 0
        self.done += 1
        self.progress(self.done, len(self.questions), "")

    def _repeated(self, attempt: int) -> None:
        note = f"attempt {attempt} of {self.endpoint.attempts}"
        self.progress(self.done, len(self.questions), note)
