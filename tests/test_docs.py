"""The documentation keeps to its rules: the README's tree is true, tables stay narrow."""

import re
from pathlib import Path

import pytest
import typer

from qsit_ray.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    ROOT / "cluster" / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
]


def test_the_readmes_tree_names_every_package_and_nothing_else():
    text = (ROOT / "README.md").read_text()
    tree = text.partition("## Where things live")[2].split("```")[1]
    packages = {path.parent.name for path in ROOT.glob("qsit_ray/*/__init__.py")}
    here = {"qsit_ray", "evaluation", "benchmarks", "search_spaces", "cluster", "tests", "docs"}
    folders = set(re.findall(r"(?:^|\s)(\w+)/", tree))
    assert packages | here <= folders
    assert not [folder for folder in folders if not list(ROOT.glob(f"**/{folder}"))]
    for name in re.findall(r"\b(\w+\.(?:py|yaml))\b", tree):
        assert (ROOT / name).exists() or (ROOT / "qsit_ray" / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_table_row_is_wider_than_160_characters(page):
    rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
    assert not [row for row in rows if len(row) > 160]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_in_the_text_exist(page):
    """Modules and YAML files, as folder/file.py, in commands too."""
    found = re.findall(
        r"\b(?:qsit_ray|evaluation|benchmarks|search_spaces|tests)/[\w/.*]+\.(?:py|yaml)\b",
        page.read_text(),
    )
    assert not [path for path in found if not list(ROOT.glob(path))]


def verbs(command):
    return {name: verbs(each) for name, each in getattr(command, "commands", {}).items()}


def test_every_command_that_is_named_exists():
    """In pages, docstrings and messages: `qsit verb`, or `qsit group verb`."""
    known = verbs(typer.main.get_command(app))
    sources = [*PAGES, *ROOT.glob("qsit_ray/**/*.py"), *ROOT.glob("evaluation/**/*.py")]
    wrong = []
    for path in sources:
        for first, second in re.findall(
            r"(?:`|^    |; )qsit ([a-z][a-z-]*)(?: ([a-z][a-z-]*)(?=[ `;]))?",
            path.read_text(),
            re.MULTILINE,
        ):
            if first not in known or (known[first] and second and second not in known[first]):
                wrong.append(f"{path.relative_to(ROOT)}: qsit {first} {second}")
    assert not wrong
