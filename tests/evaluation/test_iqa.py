"""Intervals, undefined metrics, and predictions that are refused."""

import json

import numpy as np
import pytest

from qsit_ray.evaluation import iqa
from qsit_ray.levels import two_level_score


@pytest.mark.parametrize("way", [1, -1])
def test_the_logistic_mapping_straightens_a_logistic_response(way):
    x = np.linspace(-6, 6, 300)
    y = 20 + 60 / (1 + np.exp(-way * (x - 1) / 0.7))
    found = iqa.score_predictions(y, x)
    assert found.plcc_logistic == pytest.approx(1, abs=1e-6)
    assert found.rmse_logistic == pytest.approx(0, abs=1e-3)
    assert abs(found.plcc) < 0.98


def test_perfect_predictions_score_one_and_intervals_hold_the_value():
    y = np.arange(50.0)
    found = iqa.score_predictions(y, y)
    assert [found.srcc, found.plcc, found.krcc, found.average] == pytest.approx([1] * 4)
    assert found.rmse == 0
    rng = np.random.default_rng(0)
    found = iqa.score_predictions(y, y + rng.normal(0, 10, 50))
    for name in iqa.METRICS:
        low, high = found.intervals[name]
        assert low <= getattr(found, name) <= high
    written = json.dumps(found.to_json(), allow_nan=False)
    assert iqa.IqaResult.from_json(json.loads(written)) == found


def test_a_planted_correlation_is_in_its_interval_also_when_fewer_rows_are_drawn(monkeypatch):
    rng = np.random.default_rng(1)
    y = rng.normal(size=4000)
    x = 0.6 * y + 0.8 * rng.normal(size=4000)
    full = iqa.score_predictions(y, x).intervals["plcc"]
    monkeypatch.setattr(iqa, "FULL_ROWS", 1000)
    monkeypatch.setattr(iqa, "DRAWN_ROWS", 500)
    drawn = iqa.score_predictions(y, x).intervals["plcc"]
    assert full[0] < 0.6 < full[1]
    # The standard error of a correlation of .6 over 4,000 rows is .0101.
    assert np.ptp(full) == pytest.approx(2 * 1.96 * 0.0101, rel=0.15)
    assert np.ptp(drawn) == pytest.approx(np.ptp(full), rel=0.15)


def test_rows_of_one_photograph_widen_the_interval():
    rng = np.random.default_rng(2)
    photo = np.repeat(np.arange(20), 30)
    y, x = (rng.normal(size=20)[photo] + 0.2 * rng.normal(size=600) for _ in range(2))
    rows = iqa.score_predictions(y, x).intervals["plcc"]
    photos = iqa.score_predictions(y, x, cluster=[f"p{i}" for i in photo]).intervals["plcc"]
    assert np.ptp(photos) > 3 * np.ptp(rows)


@pytest.mark.parametrize(
    ("truth", "prediction", "reason"),
    [
        ([1, 2, 3, 4], [5, 5, 5, 5], "every prediction is equal"),
        ([1, 1, 1, 1], [1, 2, 3, 4], "every truth is equal"),
        ([1, 2], [1, 2], "2 rows; at least 3"),
        ([], [], "0 rows"),
    ],
)
def test_an_undefined_correlation_is_null_with_a_reason(truth, prediction, reason):
    found = iqa.score_predictions(truth, prediction)
    assert found.srcc is found.plcc is found.plcc_logistic is found.krcc is found.average is None
    for name in ("srcc", "plcc", "plcc_logistic", "krcc"):
        assert found.intervals[name] is None
        assert reason in found.reasons[name]
    written = json.dumps(found.to_json(), allow_nan=False)
    assert iqa.IqaResult.from_json(json.loads(written)) == found


@pytest.mark.parametrize(
    ("truth", "prediction", "more", "words"),
    [
        ([1, 2, 3], [1, float("nan"), 3], {}, "prediction missing .* 1 rows: 2$"),
        ([1, None, 3], [1, 2, 3], {}, "truth missing"),
        ([1, 2, 3], [1, 2], {}, "3 truths, 2 predictions"),
        ([1, 2, 3], ["1", "b", "3"], {}, "must hold numbers"),
        ([1, 2, 3], [1, 2, 4], {"cluster": ["a", "b"]}, "2 cluster ids for 3 rows"),
        ([1, 2, 3], [1, 2, 4], {"cluster": ["a", None, "b"]}, "cluster id is missing in row 2"),
    ],
)
def test_bad_columns_are_refused_by_name_and_row(truth, prediction, more, words):
    with pytest.raises(ValueError, match=words):
        iqa.score_predictions(truth, prediction, **more)


def test_ranking_uses_the_margin_where_the_score_saturates():
    margin = np.linspace(40, 90, 20)
    found = iqa.score_predictions(np.arange(20), two_level_score(margin - 39, 0), rank_on=margin)
    assert found.srcc == pytest.approx(1)
    assert found.plcc < 1
