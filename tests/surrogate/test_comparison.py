"""One search, several curves: the used, the paper's and the recommended one."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.errors import InputError
from qsit_ray.surrogate.comparison import RECOMMENDED, Comparison, compare_curves
from qsit_ray.surrogate.observations import observed

RATIOS = np.repeat(np.geomspace(0.1, 10, 9), 3)
QUARTICS = {"quartic over ratio", "quartic over log", "quartic over share"}


def scores(noise=0.004, seed=0):
    chance = np.random.default_rng(seed)
    return 0.7 + 0.04 / np.cosh(np.log(RATIOS / 2)) + chance.normal(0, noise, RATIOS.size)


@pytest.mark.parametrize("use", ["polynomial", "recommended"])
def test_the_paper_s_quartic_and_the_recommended_curve_are_always_fitted(use):
    found = compare_curves(observed(RATIOS, scores()), use=use, degree=2, coordinate="log")
    assert set(found.curves) == QUARTICS | {RECOMMENDED, "quadratic over log"}
    assert found.used == (RECOMMENDED if use == "recommended" else "quadratic over log")
    assert set(found.curves) <= set(found.alternatives)
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert Comparison.from_json(content) == found
    assert content["optimum"] == content["curves"][found.used]["optimum"]
    assert {"coefficients", "coordinate", "interval", "verdict", "rivals"} <= set(content)


def test_the_verdict_names_the_recommended_curve_where_another_is_used():
    seen = observed(RATIOS, scores())
    other, same = compare_curves(seen), compare_curves(seen, use="recommended")
    assert other.verdict.startswith(other.fit.verdict)
    assert "The recommended curve, a Gaussian process over log" in other.verdict
    assert same.verdict == same.fit.verdict


def test_runs_without_a_score_are_a_degraded_result():
    kept = scores()
    kept[[0, 1, 2, 10]] = np.nan
    found = compare_curves(observed(RATIOS, kept)).to_json()
    assert found["degraded"] and found["lost_ratios"] == [0.1]
    assert "Degraded: 4 of 27 rows have no score" in found["verdict"]
    assert not compare_curves(observed(RATIOS, scores())).to_json()["degraded"]


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.sampled_from([0.1, 0.3, 1.0, 2.0, 5.0, 10.0]), min_size=6, max_size=30),
    st.integers(0, 1000),
    st.sampled_from([0.0, 1e-9, 1.0, 1e9]),
)
def test_for_every_score_the_result_is_finite_and_in_order(extra, seed, size):
    ratios = [0.1, 0.5, 1.0, 2.0, 10.0, *extra]
    found = compare_curves(
        observed(ratios, 1 + size * np.random.default_rng(seed).normal(size=len(ratios)))
    )
    json.dumps(found.to_json(), allow_nan=False)
    for curve in found.curves.values():
        for low, high in (curve.interval, curve.regret_zone):
            assert curve.low <= low <= curve.optimum <= high <= curve.high


def test_a_quartic_with_too_few_ratios_is_omitted_or_refused():
    few = observed([0.5, 1, 2, 4] * 2, [1, 3, 4, 2, 1.1, 3.2, 3.9, 2.2])
    found = compare_curves(few, use="recommended")
    assert set(found.curves) == {RECOMMENDED}
    assert found.curves[RECOMMENDED].interval[0] <= 2 <= found.curves[RECOMMENDED].interval[1]
    assert found.alternatives["quartic over ratio"] is None
    with pytest.raises(InputError, match=r"4 distinct ratios .* search 5 or more or fit degree 2"):
        compare_curves(few)
    assert compare_curves(few, degree=2).used == "quadratic over ratio"
