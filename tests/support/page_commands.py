"""The commands of the documentation's pages: blocks without a language, or of a shell's."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "cluster/README.md")),
    *sorted(ROOT.glob("docs/*.md")),
]
SHELLS = ("", "sh", "bash", "console")


@dataclass(frozen=True)
class Command:
    """One command of a page, without its comment; `line`: of the page, from 1."""

    page: str
    line: int
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}: {self.text}"


def blocks(page, languages):
    """(line, content) of the blocks of code in a page that are of one of the languages."""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type in ("code_block", "fence") and token.info.strip() in languages:
            yield token.map[0] + 1 + (token.type == "fence"), token.content


@cache
def commands():
    """All commands, one a line; a line that ends with a backslash goes on."""
    found = []
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        for start, content in blocks(page, SHELLS):
            parts, first = [], start
            for number, line in enumerate(content.splitlines(), start=start):
                if not parts:
                    first = number
                text = re.sub(r"(^|\s+)#\s.*$", "", line).strip()
                parts.append(text.removesuffix("\\").strip())
                if not text.endswith("\\"):
                    if any(parts):
                        found.append(Command(name, first, " ".join(parts)))
                    parts = []
    return found


@cache
def inline():
    """The commands `qsit …` within text, as far as they are given there."""
    found = []
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        for token in MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8")):
            for child in token.children or ():
                if child.type == "code_inline" and child.content.startswith("qsit "):
                    line = (token.map or [0])[0] + 1
                    found += [
                        Command(name, line, text.strip())
                        for text in child.content.split(";")
                        if text.strip().startswith("qsit ")
                    ]
    return found
