"""Correlations against scipy and published figures, intervals, and undefined cases."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evaluation import iqa
from qsit_ray.levels import two_level_margin, two_level_score

columns = st.lists(st.tuples(st.integers(0, 8), st.integers(-4, 4)), min_size=3, max_size=40)


@given(columns)
def test_correlations_equal_scipys_with_ties(rows):
    y, x = np.array(rows, dtype=float).T
    if np.ptp(y) == 0 or np.ptp(x) == 0:
        assert np.isnan(iqa.srcc(y, x)) and np.isnan(iqa.plcc(y, x))
        return
    assert iqa.srcc(y, x) == pytest.approx(stats.spearmanr(y, x).statistic, abs=1e-12)
    assert iqa.plcc(y, x) == pytest.approx(stats.pearsonr(y, x).statistic, abs=1e-12)
    assert iqa.krcc(y, x) == pytest.approx(stats.kendalltau(y, x).statistic, abs=1e-12)


@given(columns, st.floats(0.1, 50), st.floats(-100, 100))
def test_plcc_ignores_scale_and_srcc_any_rising_map(rows, scale, shift):
    y, x = np.array(rows, dtype=float).T
    same = {"nan_ok": True, "abs": 1e-9}
    assert iqa.plcc(y, scale * x + shift) == pytest.approx(iqa.plcc(y, x), **same)
    assert iqa.srcc(y, np.exp(x)) == pytest.approx(iqa.srcc(y, x), **same)


@pytest.mark.parametrize("way", [1, -1])
def test_the_logistic_mapping_straightens_a_logistic_response(way):
    x = np.linspace(-6, 6, 300)
    y = 20 + 60 / (1 + np.exp(-way * (x - 1) / 0.7))
    found = iqa.evaluate(y, x)
    assert found["plcc_logistic"] == pytest.approx(1, abs=1e-6)
    assert found["rmse_logistic"] == pytest.approx(0, abs=1e-3)
    assert abs(found["plcc"]) < 0.98


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 3))
def test_the_mapping_never_does_worse_than_a_line(seed, noise):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=60)
    y = x + noise * rng.normal(size=60)
    assert iqa.plcc(y, iqa.logistic_mapping(y, x)) >= abs(iqa.plcc(y, x)) - 1e-3


def test_perfect_predictions_score_one_and_intervals_hold_the_value():
    y = np.arange(50.0)
    found = iqa.evaluate(y, y)
    assert [found[k] for k in ("srcc", "plcc", "krcc", "average")] == pytest.approx([1] * 4)
    assert found["rmse"] == 0
    rng = np.random.default_rng(0)
    found = iqa.evaluate(y, y + rng.normal(0, 10, 50))
    for name in iqa.METRICS:
        low, high = found["intervals"][name]
        assert low <= found[name] <= high
    json.dumps(found, allow_nan=False)


def test_a_planted_correlation_lies_in_its_interval_also_when_fewer_rows_are_drawn(monkeypatch):
    rng = np.random.default_rng(1)
    y = rng.normal(size=4000)
    x = 0.6 * y + 0.8 * rng.normal(size=4000)
    full = iqa.evaluate(y, x)["intervals"]["plcc"]
    monkeypatch.setattr(iqa, "FULL_ROWS", 1000)
    monkeypatch.setattr(iqa, "DRAWN_ROWS", 500)
    drawn = iqa.evaluate(y, x)["intervals"]["plcc"]
    assert full[0] < 0.6 < full[1]
    # The standard error of a correlation of .6 over 4,000 rows is .0101.
    assert np.ptp(full) == pytest.approx(2 * 1.96 * 0.0101, rel=0.15)
    assert np.ptp(drawn) == pytest.approx(np.ptp(full), rel=0.15)


def test_rows_of_one_photograph_widen_the_interval():
    rng = np.random.default_rng(2)
    photo = np.repeat(np.arange(20), 30)
    y, x = (rng.normal(size=20)[photo] + 0.2 * rng.normal(size=600) for _ in range(2))
    rows = iqa.evaluate(y, x)["intervals"]["plcc"]
    photos = iqa.evaluate(y, x, cluster=[f"p{i}" for i in photo])["intervals"]["plcc"]
    assert np.ptp(photos) > 3 * np.ptp(rows)


def test_each_group_is_as_if_evaluated_alone():
    rng = np.random.default_rng(3)
    y, x = rng.normal(size=(2, 60))
    names = np.array(["koniq", "spaq"] * 30)
    found = iqa.evaluate(y, x, groups=names, seed=5)
    assert found["by_group"]["spaq"] == iqa.evaluate(y[1::2], x[1::2], seed=5)
    both = [found["by_group"][name]["average"] for name in ("koniq", "spaq")]
    assert found["average_of_groups"] == pytest.approx(np.mean(both))


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
    found = iqa.evaluate(truth, prediction)
    for name in ("srcc", "plcc", "plcc_logistic", "krcc"):
        assert found[name] is None and found["intervals"][name] is None
        assert reason in found["reasons"][name]
    assert found["average"] is None
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("truth", "prediction", "more", "words"),
    [
        (
            [1, 2, 3],
            [1, float("nan"), 3],
            {},
            r"prediction missing .* 1 rows \(first row is 0\): 1",
        ),
        ([1, None, 3], [1, 2, 3], {}, "truth missing"),
        ([1, 2, 3], [1, 2], {}, "3 truths, 2 predictions"),
        ([1, 2, 3], ["1", "b", "3"], {}, "must hold numbers"),
        ([1, 2, 3], [1, 2, 4], {"cluster": ["a", "b"]}, "2 cluster ids for 3 rows"),
        ([1, 2, 3], [1, 2, 4], {"cluster": ["a", None, "b"]}, "cluster id is missing in row 1"),
        ([1, 2, 3], [1, 2, 4], {"groups": ["a"]}, "1 group ids for 3 rows"),
        ([1, 2, 3], [1, 2, 4], {"confidence": 95}, "between 0 and 1"),
    ],
)
def test_bad_columns_are_refused_by_name_and_row(truth, prediction, more, words):
    with pytest.raises(ValueError, match=words):
        iqa.evaluate(truth, prediction, **more)


def test_ranking_goes_by_the_margin_where_the_score_saturates():
    margin = np.linspace(40, 90, 20)
    found = iqa.evaluate(np.arange(20), two_level_score(margin - 39, 0), rank_on=margin)
    assert found["srcc"] == pytest.approx(1)
    assert found["plcc"] < 1


def test_fifteen_models_reproduce_the_published_correlations(shared_data):
    expected = pd.read_csv(shared_data / "qbench_expected_koniq_livec.csv")
    assert len(expected) == 30
    for row in expected.itertuples():
        table = pd.read_parquet(shared_data / f"qbench_logits_{row.dataset}.parquet")
        keys = [
            f"{row.model}__{key.removeprefix('logit_')}" for key in (row.good_key, row.poor_key)
        ]
        table = table.dropna(subset=keys)
        good, poor, truth = table[keys[0]], table[keys[1]], table.gt_score
        found = [
            iqa.srcc(truth, two_level_margin(good, poor)),
            iqa.plcc(truth, two_level_score(good, poor, 100)),
            iqa.plcc(truth, two_level_score(good, poor, 1)),
        ]
        published = [row.srcc_margin_exact_ties, row.plcc_T100, row.plcc_T1]
        assert found == pytest.approx(published, abs=5e-4), (row.model, row.dataset)
