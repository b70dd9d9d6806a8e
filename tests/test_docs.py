"""The documentation keeps to its rules: the README's tree is true, tables stay narrow."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "cluster" / "README.md", *sorted(ROOT.glob("docs/*.md"))]


def test_the_readmes_tree_names_every_module_and_no_other():
    text = (ROOT / "README.md").read_text()
    tree = text.partition("## Where things live")[2].split("```")[1]
    modules = {
        path.stem
        for folder in ("qsit_ray", "evaluation")
        for path in ROOT.glob(f"{folder}/**/*.py")
        if not path.stem.startswith("__")
    }
    words = set(re.findall(r"\w+", tree))
    assert not modules - words
    named = set(re.findall(r"([\w/]+)\.py\b", tree))
    assert not {Path(name).name for name in named} - modules
    for folder in re.findall(r"^ *([\w/]+)/ ", tree, re.MULTILINE):
        assert list(ROOT.glob(f"**/{folder}")), folder


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
        r"\b(?:qsit_ray|evaluation|search_spaces|tests)/[\w/.*]+\.(?:py|yaml)\b", page.read_text()
    )
    assert not [path for path in found if not list(ROOT.glob(path))]
