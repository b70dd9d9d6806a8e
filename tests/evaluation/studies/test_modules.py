"""docs/CODE.md: every module with the first sentence of its docstring."""

import shutil
from pathlib import Path

from qsit_ray.evaluation.studies import modules

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "CODE.md"


def test_the_page_is_what_the_command_writes(tmp_path):
    shutil.copy(PAGE, tmp_path / "page.md")
    modules.write(tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == PAGE.read_text()


def test_every_module_is_there_once():
    named = [line for line in PAGE.read_text().splitlines() if line.startswith("- **")]
    paths = [
        path
        for package in ("qsit_ray", "evaluation", "benchmarks")
        for path in ROOT.joinpath(package).rglob("*.py")
        if not path.stem.startswith("__")
    ]
    assert sorted(line.split("**")[1] for line in named) == sorted(path.stem for path in paths)


def test_a_module_is_told_by_its_first_sentence(tmp_path):
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text('"""pure: what is mine."""')
    (package / "one.py").write_text(
        '"""rim: reads a file (Eq. 1) and\nwrites it. Nothing else.\n\nMore of it.\n"""\n'
    )
    assert modules.modules(package) == (
        "### mine/\n\nWhat is mine.\n\n- **one** (rim): reads a file (Eq. 1) and writes it."
    )
