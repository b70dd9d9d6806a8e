"""pure: every module of the repository, with the first sentence of its docstring.

Writes the section `modules` of docs/CODE.md.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from qsit_ray.evaluation.studies.sections import Page, command_line, write_section

# The path may lead over the link qsit_ray/evaluation.
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("qsit_ray", "evaluation", "benchmarks")
WIDTH = 150


def modules(root: Path) -> str:
    """A heading and a list for each package below `root`, itself a package."""
    folders = [root, *sorted(path for path in root.rglob("*") if (path / "__init__.py").exists())]
    return "\n\n".join(_package(folder, root.parent) for folder in folders if _is_here(folder))


def _is_here(folder: Path) -> bool:
    """Not one that is linked into the package and lies elsewhere."""
    return not any(path.is_symlink() for path in (folder, *folder.parents))


def _package(folder: Path, top: Path) -> str:
    _, meaning = first_sentence(folder / "__init__.py")
    parts = [f"### {folder.relative_to(top)}/", _capital(meaning)]
    entries = "\n".join(_entries(folder))
    return "\n\n".join([*parts, entries] if entries else parts)


def _capital(sentence: str) -> str:
    """The sentence with a capital, unless it begins with a module's name."""
    first = sentence.partition(" ")[0]
    return sentence if "_" in first else sentence[:1].upper() + sentence[1:]


def _entries(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.py")):
        if not path.stem.startswith("__"):
            kind, meaning = first_sentence(path)
            yield from _wrapped(f"- **{path.stem}** ({kind}): {meaning}")


def first_sentence(path: Path) -> tuple[str, str]:
    """The kind of a module, `pure`, `torch` or `rim`, and the first sentence of its docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    kind, _, text = docstring.partition("\n\n")[0].partition(": ")
    return kind, re.split(r"(?<=\.) (?=[A-Z])", " ".join(text.split()))[0]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def write(out: Page = Path("docs/CODE.md")) -> None:
    """Every module, from its docstring."""
    found = (modules(ROOT / package) for package in PACKAGES)
    write_section(out, "modules", command_line("modules", "docs/CODE.md"), *found)
