"""pure: a section of a documentation page that a command writes, between two marks in the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from qsit_ray import artifacts
from qsit_ray.errors import InputError

# Options that several studies have.
Page = Annotated[Path, typer.Option(help="The page that is written.")]
Count = Annotated[int, typer.Option(min=1)]
Seed = Annotated[int, typer.Option(min=0)]


def command_line(study: str, page: str = "docs/SEARCH.md", **options: int) -> str:
    """The command of a study, as its section quotes it."""
    given = "".join(f" --{name} {value}" for name, value in options.items())
    return f"`python -m evaluation.studies {study.replace('_', '-')} --out {page}{given}`"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(cells)} |" for cells in (columns, *rows)]
    return "\n".join([lines[0], "|---" * len(columns) + "|", *lines[1:]])


def write_section(page: Path, name: str, *parts: str) -> None:
    """Replace the text in `page` between `<!-- NAME: begin -->` and `<!-- NAME: end -->` by
    `parts`, with blank lines between them.

    Raises InputError naming the page when it can't be read or lacks the marks.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    try:
        old = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{page}: can't read it: {error}") from None
    before, found, rest = old.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise InputError(f"{page}: the marks {begin} and {end} are missing")
    artifacts.write_text(page, "\n\n".join([before + begin, *parts, end + after]))
    print(f"{page}: section {name} written")
