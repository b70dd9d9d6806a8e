"""Several runs side by side: results, settings that differ, and tests on the same items."""

import re

import pytest
from planted_run import CONFIG, Balanced, catalog, fill, predict, read
from planted_run import fit as planted_fit
from planted_run import search as planted_search

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.files import override
from qsit_ray.errors import InputError
from qsit_ray.report.runs_page import build

OTHER = override(CONFIG, ["seed=3", "train.controller.shrink=false"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    first, second = RunFolder(folder / "<a>" / "run"), RunFolder(folder / "b" / "run")
    for run in (first, second):
        fill(run)
        catalog(run)
        predict(run)
    return first, second


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "runs.html"
    return build([(runs[0], CONFIG), (runs[1], OTHER)], out).read_text()


def test_results_of_both_are_side_by_side(page):
    text = read(page)
    for expected in (
        "2 runs side by side", "D1 : D2 : D3 1 : 2.50 : 1.04 1 : 2.50 : 1.04",
        "λ 0.215 0.215", "SRCC, demo & co 0.612 (0.501 to 0.702) 0.612 (0.501 to 0.702)",
        "Accuracy 55.1 % (49.3 % to 60.4 %)", "Rows trained 5,873 5,873", "3.36 min",
    ):  # fmt: skip
        assert expected in text, expected


def test_settings_that_differ_are_listed_and_no_other(page):
    text = read(page)
    listed = text[text.index("Settings that differ") : text.index("Searches")]
    assert "seed 0 3" in listed and "train.controller.shrink true false" in listed
    assert listed.count(".") == 2


def test_runs_of_one_name_are_told_apart_and_escaped(page):
    assert "<a>" not in page and "&lt;a&gt;/run" in page and "b/run" in page


def test_the_same_predictions_do_not_differ(page):
    text = read(page)
    assert "A: b/run · B: <a>/run" in text and "0.000 0.000 to 0.000 1.0 Williams" in text


def test_runs_of_other_test_data_are_not_tested(runs, tmp_path):
    other = RunFolder(tmp_path / "other")
    fill(other)
    predict(other)
    text = read(build([(runs[0], CONFIG), (other, CONFIG)], tmp_path / "x.html").read_text())
    assert "Williams" not in text and "None." in text


def test_the_page_asks_for_nothing_from_outside(page):
    Balanced(page)
    text = re.sub(r"sha256-[\w+/]+=|http-equiv", "", page)
    assert "http" not in text and "//" not in text


def test_runs_that_have_just_begun_are_shown(tmp_path):
    empty, searched = RunFolder(tmp_path / "empty"), RunFolder(tmp_path / "searched")
    empty.path.mkdir()
    rows = planted_search(searched, "interpreting_general")
    planted_fit(searched, "interpreting_general", rows)
    text = read(build([(empty, CONFIG), (searched, CONFIG)], tmp_path / "x.html").read_text())
    assert text.count("The mix is not found yet") == 2
    assert "searched · Probability" in text and "empty · Probability" not in text


def test_a_file_that_cannot_be_read_is_named(runs, tmp_path):
    broken = RunFolder(tmp_path)
    artifacts.write_text(broken.mixture, "{")
    with pytest.raises(InputError, match=r"mixture\.json"):
        build([(runs[0], CONFIG), (broken, CONFIG)], tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()
