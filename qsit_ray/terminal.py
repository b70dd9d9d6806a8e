"""pure: lines, tables and progress bars for the user; libraries' own output goes to a log file."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

BETWEEN_SECONDS = 30.0
"""Between two lines of one bar, where the output is no terminal."""
QUIET_SECONDS = 300.0
"""Between two lines that differ in the count or the figures alone."""


class Live(Progress):
    """Bars, and below them what is said of their tasks, a line each; a long one is cut."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            for line in task.fields["said"]:
                yield Text(f"  {line}", style="dim", no_wrap=True, overflow="ellipsis")


@dataclass
class Bar:
    """The progress of one task: a bar, or without a terminal lines at some distance: of a new note
    or tenth `BETWEEN_SECONDS`, of anything else `QUIET_SECONDS`. The first state and the last are
    always told.
    """

    title: str
    say: Callable[[str], None]
    live: Live | None = None
    task: TaskID | None = None
    clock: Callable[[], float] = time.monotonic
    _told: str = ""
    _now: str = ""
    _change: tuple[str, int] = ("", 0)
    _at: float = -math.inf
    _begun: tuple[int, float] | None = None

    def update(
        self, done: int, total: int, note: str = "", figures: str = "", left: float | None = None
    ) -> None:
        """`note`: what happened last; `figures` change all the time. `left`: the seconds that are
        left, where they are known better than from the pace so far."""
        if self._begun is None:
            self._begun = done, self.clock()
        if left is None:
            left = self._left(done, total)
        shown = [text for text in (note, figures) if text]
        if left is not None and done < total:
            shown.append(f"about {in_words(left)} left")
        if self.live is not None and self.task is not None:
            last = ", ".join(shown[1:] if note else shown)
            said = [text for text in (note, last) if text]
            self.live.update(self.task, completed=done, total=total, said=said)
            return
        self._now = ", ".join([f"{self.title}: {done} of {total}", *shown])
        change = (note, 10 * done // max(1, total))
        distance = QUIET_SECONDS if change == self._change else BETWEEN_SECONDS
        if self.clock() - self._at >= distance:
            self._at, self._change = self.clock(), change
            self.tell()

    def _left(self, done: int, total: int) -> float | None:
        """Seconds at the pace since the first state, None before there is one."""
        assert self._begun is not None
        first, begun = self._begun
        if done == first:
            return None
        return (total - done) * (self.clock() - begun) / (done - first)

    def tell(self) -> None:
        """Say the last state, if it was not said."""
        if self._now != self._told:
            self._told = self._now
            self.say(self._now)


class Terminal:
    """Prints to the user's terminal. What is said of work is `stamped` with the time where the
    output is no terminal; results, which programs read, are not."""

    def __init__(self, console: Console | None = None, stamped: bool = False):
        self.console, self.stamped = console or Console(), stamped

    def say(self, text: str) -> None:
        self._print(text, self.stamped)

    def _print(self, text: str, stamped: bool = True) -> None:
        if stamped and not self.console.is_terminal:
            text = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}"
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def confirm(self, question: str) -> bool:
        """The user's yes or no; no without a terminal to ask at."""
        if not (sys.stdin.isatty() and self.console.is_terminal):
            return False
        return self.console.input(f"{question} [y/N] ").strip().lower() in ("y", "yes")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = Table(title=title, title_justify="left")
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if number == 0 else "right")
        for row in rows:
            table.add_row(*map(escape, row))  # names of files may look like rich's markup
        self.console.print(table)

    @contextmanager
    def bar(self, title: str) -> Iterator[Bar]:
        if not self.console.is_terminal:
            self._print(f"{title} ...")
            bar = Bar(title, self._print)
            try:
                yield bar
            finally:
                bar.tell()
            return
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Live(*columns, console=self.console) as live:
            yield Bar(title, self._print, live, live.add_task(title, total=None, said=()))


def in_words(seconds: float) -> str:
    """A duration in the largest unit of which it has two or more: 40 s, 12 min."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


@contextmanager
def quiet(log: Path, stdout: bool = True) -> Iterator[Terminal]:
    """Send the output of this process and its children to `log`; yield the user's terminal, on
    standard output or, for a command that prints results there, on standard error.

    File descriptors are redirected, not only Python's streams: Ray's core, DeepSpeed and their
    processes write to the descriptors.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with log.open("ab") as sink, os.fdopen(saved[0 if stdout else 1], "w", closefd=False) as stream:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield Terminal(Console(file=stream), stamped=True)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            stream.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            os.close(saved[0])
            os.close(saved[1])
