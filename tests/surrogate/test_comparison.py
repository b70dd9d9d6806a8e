"""One search, several curves: the used, the paper's and the recommended one."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.errors import InputError
from qsit_ray.surrogate.comparison import RECOMMENDED, Comparison, compare_curves
from qsit_ray.surrogate.curve import predict
from qsit_ray.surrogate.observations import observed
from qsit_ray.surrogate.outliers import without_outliers

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
    other = compare_curves(seen, coordinate="log")
    same = compare_curves(seen, use="recommended")
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
    assert "quadratic over ratio" in compare_curves(few, degree=2).curves


def test_a_polynomial_that_a_constant_predicts_better_than_is_never_the_answer():
    """A quartic over the ratio cannot follow ratios that are even in log."""
    asked = compare_curves(observed(RATIOS, scores()))
    errors = asked.alternatives
    assert errors["quartic over ratio"] > errors["constant"]
    assert (asked.used, asked.refused) == (RECOMMENDED, "quartic over ratio")
    assert "The quartic over ratio is not used" in asked.verdict
    assert asked.fit.interval[0] <= 2 <= asked.fit.interval[1]
    assert compare_curves(observed(RATIOS, scores()), coordinate="log").refused is None


@pytest.mark.parametrize("wrong", [0.0, -1.0, 1e9])
def test_a_failed_run_that_is_written_as_a_score_is_left_out_and_named(wrong):
    written = scores()
    written[13] = wrong
    found = compare_curves(observed(RATIOS, written), use="recommended")
    (outlier,) = found.outliers
    assert (outlier.row, outlier.score) == (14, wrong)
    assert f"Row 14 (ratio 1, score {wrong:.4g}) is an outlier and left out" in found.verdict
    kept = np.arange(RATIOS.size) != 13
    same = compare_curves(observed(RATIOS[kept], scores()[kept]), use="recommended")
    assert found.fit.optimum == same.fit.optimum
    assert not compare_curves(observed(RATIOS, written), outliers="keep").outliers


@pytest.mark.parametrize("noise", [0.001, 0.004, 0.02])
def test_normal_noise_rarely_has_an_outlier(noise):
    """At one in a hundred searches, three of 60 or more are less likely than one in forty."""
    searches = [without_outliers(observed(RATIOS, scores(noise, seed)))[1] for seed in range(60)]
    assert sum(map(bool, searches)) < 3


@pytest.mark.parametrize("pair", [(-500, 900), (-500, -500), (900, 900), (0.0, -1.0)])
@pytest.mark.parametrize("repeats", [1, 3])
def test_outliers_do_not_hide_each_other(pair, repeats):
    ratios = np.repeat(np.geomspace(0.1, 10, 15 // repeats), repeats)
    values = 0.7 + 0.04 / np.cosh(np.log(ratios / 2))
    values += np.random.default_rng(0).normal(0, 0.002, ratios.size)
    values[[0, -1]] = pair
    kept, found = without_outliers(observed(ratios, values))
    assert [each.row for each in found] == [1, 15]
    assert kept.scores.min() > 0.6 and kept.scores.max() < 0.8


def test_unknown_noise_is_a_doubt():
    found = compare_curves(
        observed([0.5, 1, 2, 4, 8], [0.1, 0.3, 0.5, 0.4, 0.2]), degree=2, coordinate="log"
    )
    assert found.used == "quadratic over log" and found.fit.noise is None
    assert "the noise of a run is unknown" in found.doubts


def test_a_narrow_peak_of_one_run_is_no_outlier():
    ratios = np.geomspace(0.1, 10, 13)
    peak = 0.7 + 0.04 * np.exp(-((np.log(ratios / ratios[7]) / 0.2) ** 2))
    peak += np.random.default_rng(0).normal(0, 0.001, 13)
    assert not without_outliers(observed(ratios, peak))[1]


@pytest.mark.parametrize("seed", range(4))
def test_losses_are_fitted_as_scores_with_their_sign_turned(seed):
    values = scores(seed=seed)
    best = compare_curves(observed(RATIOS, values), use="recommended")
    least = compare_curves(observed(RATIOS, values), use="recommended", minimize=True)
    assert least.minimize and not best.minimize
    assert (least.fit.optimum, least.fit.interval) == (best.fit.optimum, best.fit.interval)
    assert least.fit.optimum_score == -best.fit.optimum_score
    ratios = np.geomspace(0.1, 10, 7)
    assert np.allclose(predict(least.fit, ratios), -predict(best.fit, ratios))
    assert Comparison.from_json(json.loads(json.dumps(least.to_json()))) == least


@pytest.mark.parametrize("use", ["polynomial", "recommended"])
@pytest.mark.parametrize("score", [0.0, 0.5, -3.0])
def test_of_equal_scores_no_end_is_the_answer(use, score):
    found = compare_curves(observed(RATIOS, np.full(RATIOS.size, score)), use=use, coordinate="log")
    assert found.fit.flat and found.verdict.startswith("No ratio stands out")
    assert found.fit.optimum == pytest.approx(1.0)
    assert found.fit.interval == found.fit.regret_zone == (0.1, 10.0)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e-3])
def test_the_tolerance_follows_the_range_of_the_scores(scale):
    found = [compare_curves(observed(RATIOS, k * scores(1e-5))).fit for k in (1.0, scale)]
    assert found[1].tolerance == pytest.approx(scale * found[0].tolerance, rel=0.5)
    wide = compare_curves(observed(RATIOS, scores()), coordinate="log", tolerance=0.02).fit
    assert wide.tolerance == 0.02


def test_where_no_ratio_stands_out_the_cheapest_of_the_zone_is_taken():
    noise = np.random.default_rng(3).normal(0.5, 0.01, RATIOS.size)
    flat = compare_curves(observed(RATIOS, noise), use="recommended", rows=lambda ratio: 1 + ratio)
    assert flat.fit.flat and flat.ratio == flat.fit.regret_zone[0] < flat.fit.optimum
    assert f"The cheapest ratio within the regret zone, {flat.ratio:.3g}, is taken" in flat.verdict
    dear = compare_curves(observed(RATIOS, noise), use="recommended", rows=lambda ratio: 1 / ratio)
    assert dear.ratio == dear.fit.regret_zone[1]
    assert flat.doubts == ["no ratio stands out from the noise"]
    clear = compare_curves(
        observed(RATIOS, scores()), use="recommended", rows=lambda ratio: 1 + ratio
    )
    assert (clear.ratio, clear.doubts) == (clear.fit.optimum, [])
    assert Comparison.from_json(flat.to_json()).ratio == flat.ratio


def test_an_end_and_missing_trials_are_doubts():
    rising = np.log(RATIOS) + np.random.default_rng(0).normal(0, 0.01, RATIOS.size)
    rising[:2] = np.nan
    found = compare_curves(observed(RATIOS, rising), use="recommended")
    assert found.doubts == ["the best ratio, 10, is an end of the search", "2 trials have no score"]
