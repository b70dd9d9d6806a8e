"""Correlations against scipy and published figures, the logistic mapping and Williams' test."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qsit_ray.evaluation import correlation
from qsit_ray.levels import two_level_margin, two_level_score

columns = st.lists(st.tuples(st.integers(0, 8), st.integers(-4, 4)), min_size=3, max_size=40)


@given(columns)
def test_correlations_equal_scipys_with_ties(rows):
    y, x = np.array(rows, dtype=float).T
    if np.ptp(y) == 0 or np.ptp(x) == 0:
        assert np.isnan(correlation.srcc(y, x)) and np.isnan(correlation.plcc(y, x))
        return
    assert correlation.srcc(y, x) == pytest.approx(stats.spearmanr(y, x).statistic, abs=1e-12)
    assert correlation.plcc(y, x) == pytest.approx(stats.pearsonr(y, x).statistic, abs=1e-12)
    assert correlation.krcc(y, x) == pytest.approx(stats.kendalltau(y, x).statistic, abs=1e-12)


@given(columns, st.floats(0.1, 50), st.floats(-100, 100))
def test_plcc_ignores_scale_and_srcc_any_rising_map(rows, scale, shift):
    y, x = np.array(rows, dtype=float).T
    same = {"nan_ok": True, "abs": 1e-9}
    assert correlation.plcc(y, scale * x + shift) == pytest.approx(correlation.plcc(y, x), **same)
    assert correlation.srcc(y, np.exp(x)) == pytest.approx(correlation.srcc(y, x), **same)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 3))
def test_the_mapping_never_does_worse_than_a_line(seed, noise):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=60)
    y = x + noise * rng.normal(size=60)
    assert (
        correlation.plcc(y, correlation.logistic_mapping(y, x))
        >= abs(correlation.plcc(y, x)) - 1e-3
    )


def test_williams_test_holds_its_level_where_both_are_equally_good():
    rng, small = np.random.default_rng(9), 0
    for _ in range(1000):
        truth = rng.normal(size=60)
        a, b = (truth + rng.normal(size=60) for _ in "ab")
        r = correlation.plcc(truth, a), correlation.plcc(truth, b), correlation.plcc(a, b)
        small += correlation.williams(*r, 60) < 0.05
    # A share of .05 over 1,000 draws has a standard error of .007.
    assert 0.025 < small / 1000 < 0.075


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
            correlation.srcc(truth, two_level_margin(good, poor)),
            correlation.plcc(truth, two_level_score(good, poor, 100)),
            correlation.plcc(truth, two_level_score(good, poor, 1)),
        ]
        published = [row.srcc_margin_exact_ties, row.plcc_T100, row.plcc_T1]
        assert found == pytest.approx(published, abs=5e-4), (row.model, row.dataset)


def test_sets_of_different_scales_are_averaged_not_pooled():
    koniq, spaq = np.linspace(1, 5, 20), np.linspace(0, 100, 20)
    truth = np.concatenate([koniq, spaq])
    perfect = np.concatenate([koniq, spaq / 25 + 1])  # each scale put on 1 to 5
    sets = ["koniq"] * 20 + ["spaq"] * 20
    assert correlation.mean_over_sets(correlation.srcc, truth, perfect, sets) == 1
    assert correlation.srcc(truth, perfect) < 0.9
