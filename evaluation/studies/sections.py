"""pure: a section of a documentation page that a command writes, between two marks in the page."""

from __future__ import annotations

from pathlib import Path

from qsit_ray import artifacts
from qsit_ray.errors import InputError


def write_section(page: Path, name: str, text: str) -> None:
    """Replace what stands in `page` between `<!-- NAME: begin -->` and `<!-- NAME: end -->`.

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
    artifacts.write_text(page, f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")


def read_section(page: Path, name: str) -> str:
    """What stands between the marks, without the blank lines around it."""
    text = page.read_text(encoding="utf-8")
    inside = text.partition(f"<!-- {name}: begin -->")[2].partition(f"<!-- {name}: end -->")[0]
    return inside.strip()
