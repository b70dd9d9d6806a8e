"""The suite's command line, its result files and its table."""

import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from pages import read_section

from benchmarks.__main__ import NAMES, RESULTS
from benchmarks.figures import Check, Found, Goal, alone, faster
from benchmarks.machine import this_machine
from benchmarks.table import Result, number, write_table

ROOT = Path(__file__).parents[2]
MARKS = "<!-- benchmarks: begin -->\n<!-- benchmarks: end -->\n"


def call(*arguments):
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def result(name="scoring", **changes):
    found = Found(
        [
            faster("scoring", "one at a time", [1.0, 2.0], [6.0, 6.0], Goal(5)),
            alone("first batch", "s", [3.5], Goal(3, at_most=True)),
        ],
        [Check("scores", True, "equal")],
        {"images": 200},
    )
    return replace(Result(name, "2026-01-02", 3.0, this_machine(), found), **changes)


def test_a_smoke_run_tells_that_both_sides_are_the_same_and_no_speed(tmp_path):
    before = {path.name: path.read_bytes() for path in RESULTS.glob("*.json")}
    done = call("--smoke", "--only", "plans,million_rows")
    assert done.returncode == 0, done.stderr
    assert "same: 3,000 rows: rows of each domain" in done.stdout
    assert "same: SRCC, PLCC, KRCC and RMSE" in done.stdout
    assert "goal" not in done.stdout and "×" not in done.stdout
    assert {path.name: path.read_bytes() for path in RESULTS.glob("*.json")} == before


def test_an_unknown_question_is_one_line_with_exit_status_2():
    done = call("--only", "plan")
    assert done.returncode == 2
    assert done.stderr.startswith("bench: no question plan; expected tiny_primary")
    assert done.stderr.count("\n") == 1


def test_a_result_is_read_as_it_was_written(tmp_path):
    written = result()
    written.write(tmp_path)
    assert Result.read(tmp_path / "scoring.json") == written


def test_the_table_has_a_row_a_figure_and_says_what_is_not_measured(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{MARKS}after\n")
    result().write(tmp_path)
    result("on_gpu", found=Found(missing="no GPU here")).write(tmp_path)
    texts = {"scoring": "scoring", "plans": "plan of an epoch", "on_gpu": "on a GPU"}
    write_table(page, tmp_path, texts)
    section = read_section(page, "benchmarks")
    assert "By `make bench`, 2026-01-02: " in section
    lines = section.splitlines()[-5:]
    assert lines == [
        "|---|---|---|---|---|---|---|",
        "| scoring | one at a time | 1.50 s | 6.00 s | 4.00× [3.00, 6.00] | ≥ 5 | no |",
        "| first batch |  |  |  | 3.50 s | ≤ 3 | no |",
        "| plan of an epoch |  |  |  | not measured |  |  |",
        "| on a GPU |  |  |  | not measured: no GPU here |  |  |",
    ]


@pytest.mark.parametrize("busy", [None, 0.01, 1.5])
def test_other_work_is_said_where_there_was_some(tmp_path, busy):
    page = tmp_path / "page.md"
    page.write_text(MARKS)
    result(machine=replace(this_machine(), cores=2, busy=busy)).write(tmp_path)
    write_table(page, tmp_path, {"scoring": "scoring"})
    section = read_section(page, "benchmarks")
    assert ("Other work used some cores when these began: scoring 1.5." in section) == (busy == 1.5)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1,234"), (12.34, "12.3"), (1.234, "1.23"), (0.001234, "0.00123"), (0.0, "0.00")],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_every_question_has_a_text_and_every_result_a_question(tmp_path):
    texts = {name: import_module(f"benchmarks.{name}").TEXT for name in NAMES}
    assert all(texts.values()) and len(set(texts.values())) == len(NAMES)
    assert {path.stem for path in RESULTS.glob("*.json")} <= set(NAMES)
    page = tmp_path / "page.md"
    page.write_text(MARKS)
    write_table(page, RESULTS, texts)
    committed = read_section(ROOT / "docs" / "PERFORMANCE.md", "benchmarks")
    assert committed == read_section(page, "benchmarks")


def test_what_is_measured_was_the_same_on_both_sides():
    for path in RESULTS.glob("*.json"):
        checks = Result.read(path).found.checks
        assert [check for check in checks if not check.holds] == [], path
