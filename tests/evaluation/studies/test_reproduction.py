"""The page of published figures has every row, and docs has its current tables."""

from pathlib import Path

import pytest
from pages import read_section

from qsit_ray.errors import InputError
from qsit_ray.evaluation.studies import reproduction
from qsit_ray.evaluation.studies.reproduction import Row

PAGE = Path(__file__).parents[3] / "docs" / "REPRODUCTION.md"


@pytest.fixture(scope="module")
def rows(shared_data):
    return reproduction.rows(shared_data)


def test_only_the_two_databases_known_for_it_are_not_reproduced(rows):
    failed = [row for row in rows if row.reproduced is False]
    assert len(failed) == 4 and all(row.why for row in failed)
    assert all("LIVEC" in row.figure or "AGIQA-3K" in row.figure for row in failed)
    # Our figures.
    assert [row.ours for row in failed] == pytest.approx([0.963, 0.969, 0.958, 0.966], abs=5e-4)


def test_every_figure_has_a_row(rows):
    titles = [f"{row.section}: {row.figure}" for row in rows]
    for words, count in (
        ("levels that differ", 4),
        ("histograms", 1),
        ("training rows", 4),
        ("on KonIQ, from raw logits", 75),
        ("on LIVEC, from raw logits", 75),
        ("largest distance", 5),
        ("random guess", 2),
        ("by the default rule", 5),
        ("by the official rule", 5),
    ):
        assert sum(words in row for row in titles) == count, words


def test_the_section_in_docs_is_the_text_that_the_command_writes(rows):
    assert read_section(PAGE, "figures") == "\n\n".join(reproduction.parts(rows))
    assert max(len(line) for line in PAGE.read_text().splitlines() if line[:1] == "|") <= 160


def test_a_verdict_follows_the_tolerance():
    assert Row("s", "f", 0.5, 0.5005, 5e-4).verdict == "reproduced"
    assert Row("s", "f", 0.5, 0.51, 5e-4, why="w").verdict == "not reproducible: w"
    assert Row("s", "f", None, 0.5, 0).verdict == "no published figure"
    counts, title, table = reproduction.parts(
        [Row("s", "f", 0.5, 0.51, 5e-4, 3), Row("s", "g", None, 0.5, 0)]
    )
    assert title == "## s"
    assert "| f | 0.500 | 0.510 | 0.0005 | not reproducible |" in table
    assert "0 figures reproduced, 1 not reproducible, 1 without" in counts


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(InputError, match="qsit_train_labels_koniq"):
        reproduction.rows(tmp_path)
