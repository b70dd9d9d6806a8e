"""pure: lines, tables and progress bars for the user; libraries' own output goes to a log file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
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


@dataclass
class Bar:
    """The progress of one task: a bar, or without a terminal a line at each new note and tenth.

    `figures` change all the time: they are shown beside the note and make no line of their own.
    """

    title: str
    console: Console
    live: Progress | None = None
    task: TaskID | None = None
    last: tuple[str, int] = ("", 0)

    def update(self, done: int, total: int, note: str = "", figures: str = "") -> None:
        shown = " ".join(text for text in (note, figures) if text)
        if self.live is not None and self.task is not None:
            self.live.update(self.task, completed=done, total=total, note=shown)
            return
        now = (note, 10 * done // total)
        if now != self.last:
            self.last = now
            line = f"  {self.title}: {done} of {total} {shown}".rstrip()
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)


class Terminal:
    """Prints to the user's terminal."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console()

    def say(self, text: str) -> None:
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
            self.say(f"{title} ...")
            yield Bar(title, self.console)
            return
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console) as live:
            yield Bar(title, self.console, live, live.add_task(title, total=None, note=""))


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
            yield Terminal(Console(file=stream))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            stream.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            os.close(saved[0])
            os.close(saved[1])
