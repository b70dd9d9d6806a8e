"""A planted optimum is found, uncertainty is reported, and too little data is refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.errors import InputError
from qsit_ray.surrogate.alternatives import PROCESS
from qsit_ray.surrogate.curve import Fit, polynomial, predict, process
from qsit_ray.surrogate.gaussian_process import posterior
from qsit_ray.surrogate.observations import observed

PAPER_GRID = np.concatenate([np.arange(1, 10) / 10, np.arange(1, 11)])
COORDINATES = {"ratio": lambda r: r, "log": np.log, "share": lambda r: r / (1 + r)}


def fit(ratios, scores, **settings):
    return polynomial(observed(ratios, scores), **settings)


def peaked(ratios, peak, coordinate, drop=3.0):
    """A parabola over the coordinate, `drop` lower at the far end."""
    t = COORDINATES[coordinate]
    away = np.abs(t(np.asarray(ratios)) - t(peak))
    return 75 - drop * (away / away.max()) ** 2


def repeated(noise, peak=2.42, seed=0, repeats=3, drop=3.0):
    ratios = np.repeat(PAPER_GRID, repeats)
    rng = np.random.default_rng(seed)
    return ratios, peaked(ratios, peak, "log", drop) + rng.normal(0, noise, ratios.size)


@settings(max_examples=12, deadline=None)
@given(st.floats(0.15, 9.5), st.sampled_from(list(COORDINATES)), st.integers(2, 5))
def test_a_planted_peak_is_found_exactly_in_its_coordinate(peak, coordinate, degree):
    scores = peaked(PAPER_GRID, peak, coordinate)
    found = fit(PAPER_GRID, scores, degree=degree, coordinate=coordinate)
    assert found.optimum == pytest.approx(peak, rel=1e-3)
    assert found.optimum_score == pytest.approx(75, abs=1e-6)
    assert found.interval[0] <= found.optimum <= found.interval[1]
    assert np.allclose(predict(found, PAPER_GRID), scores)


@pytest.mark.parametrize(("slope", "end"), [(1, 10.0), (-1, 0.1)])
def test_a_monotone_response_has_its_optimum_at_an_end(slope, end):
    found = fit(PAPER_GRID, slope * np.log(PAPER_GRID), coordinate="log")
    assert found.optimum == end
    assert found.edge_probability > 0.9
    assert "an end of the search" in found.verdict


def test_the_higher_of_two_peaks_is_the_optimum():
    u = 2 * np.log(PAPER_GRID / 0.1) / np.log(100) - 1
    found = fit(PAPER_GRID, -((u**2 - 0.25) ** 2) + 0.01 * u, coordinate="log")
    assert found.optimum == pytest.approx(0.1 * 100 ** ((0.505 + 1) / 2), rel=0.01)


@pytest.mark.parametrize("coordinate", ["log", "share"])
def test_noise_is_estimated_and_the_interval_contains_the_planted_peak(coordinate):
    found = fit(*repeated(0.3), coordinate=coordinate)
    low, high = found.interval
    assert low < 2.42 < high
    assert found.noise == pytest.approx(0.3, rel=0.3)
    assert not found.flat
    zone_low, zone_high = found.regret_zone
    assert 0.1 <= zone_low <= found.optimum <= zone_high <= 10


def test_more_noise_widens_the_interval_and_the_tolerance():
    calm, rough = (fit(*repeated(noise), coordinate="log") for noise in (0.1, 0.8))
    assert np.ptp(np.log(calm.interval)) < np.ptp(np.log(rough.interval))
    assert calm.tolerance < rough.tolerance


def test_a_flat_response_is_reported_as_flat():
    flat = [fit(*repeated(0.5, drop=0.0, seed=s)).flat for s in range(12)]
    assert sum(flat) >= 10
    assert fit(PAPER_GRID, np.full(19, 0.7)).flat
    assert "flat" in fit(PAPER_GRID, np.full(19, 0.7)).verdict


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(57)), st.floats(0.01, 100), st.floats(-1000, 1000))
def test_order_shift_and_scale_of_the_scores_do_not_move_the_optimum(order, scale, shift):
    ratios, scores = repeated(0.3)
    plain = fit(ratios, scores, coordinate="log")
    moved = fit(ratios[order], scale * scores[order] + shift, coordinate="log")
    assert moved.optimum == pytest.approx(plain.optimum, rel=1e-6)
    assert moved.flat == plain.flat


def test_the_same_seed_gives_the_same_fit_and_its_json_restores_it():
    found = fit(*repeated(0.3), coordinate="share", seed=7)
    assert found == fit(*repeated(0.3), coordinate="share", seed=7)
    assert Fit.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_ratios_that_differ_by_rounding_are_one_ratio():
    ratios, scores = repeated(0.3)
    computed = ratios * (1 + 1e-15 * np.resize([-1, 0, 1], ratios.size))
    assert np.unique(computed).size > 19
    assert fit(computed, scores, coordinate="log") == fit(ratios, scores, coordinate="log")


def test_missing_scores_are_dropped_counted_and_reported():
    ratios, scores = repeated(0.3)
    kept = list(scores)
    kept[0:3] = [None, float("nan"), None]
    kept[10] = None
    found = fit(ratios, kept, coordinate="log")
    assert (found.rows, found.dropped, found.ratios, found.low) == (53, 4, 18, 0.2)
    assert "Degraded: 4 of 57 rows have no score" in found.verdict
    assert "no run is left at ratio 0.1, so the search spans 0.2 to 10" in found.verdict
    assert "fewer repeats: 2 of 3 at ratio 0.4" in found.verdict


def test_without_repeats_or_spare_ratios_the_noise_is_unknown():
    found = fit([0.1, 0.5, 1, 2, 10], [1, 3, 4, 3, 1])
    assert found.noise is None
    assert (found.interval, found.edge_probability) == ((0.1, 10), None)
    assert "the noise is unknown" in found.verdict
    json.dumps(found.to_json(), allow_nan=False)


def test_the_regret_curve_is_least_at_the_optimum_and_grows_away_from_it():
    found = fit(*repeated(0.3), coordinate="log")
    ratios, middle, bound = np.array(found.regret_curve).T
    assert (ratios[0], ratios[-1]) == (0.1, 10)
    assert abs(np.log(ratios[np.argmin(bound)] / found.optimum)) < 0.3
    assert np.all(middle <= bound) and middle[0] > 2


class TestProcess:
    """The Gaussian process as a fit like any other."""

    def test_its_series_is_its_mean(self):
        ratios, scores = repeated(0.3)
        found = process(observed(ratios, scores))
        mean = posterior(ratios, scores, 0.1, 10.0)
        assert np.abs(predict(found, mean.ratios) - mean.mean).max() < 0.3 / 100
        assert (found.curve, found.coordinate, found.degree) == (PROCESS, "log", None)
        assert Fit.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found

    @pytest.mark.parametrize("seed", range(3))
    def test_its_interval_and_zone_contain_a_planted_peak(self, seed):
        found = process(observed(*repeated(0.3, seed=seed)), seed=seed)
        low, high = found.interval
        assert low < 2.42 < high
        loss = 75 - peaked([0.1, *found.regret_zone], 2.42, "log")  # 0.1 is farthest
        assert loss[1:].max() <= found.tolerance
        assert found.noise == pytest.approx(0.3, rel=0.3)

    @pytest.mark.parametrize(("slope", "end"), [(1, 10.0), (-1, 0.1)])
    def test_a_monotone_response_has_its_optimum_at_an_end(self, slope, end):
        noise = np.random.default_rng(0).normal(0, 0.05, PAPER_GRID.size)
        found = process(observed(PAPER_GRID, slope * np.log(PAPER_GRID) + noise))
        assert found.optimum == end and end in found.interval
        assert found.edge_probability > 0.8

    def test_a_flat_response_is_flat_and_three_ratios_are_enough(self):
        assert process(observed(*repeated(0.5, drop=0.0, seed=1))).flat
        assert process(observed([1, 2, 4, 1, 2, 4], [3, 5, 3, 3.1, 5.1, 3])).optimum < 4
        with pytest.raises(InputError, match=r"2 distinct ratios .* Gaussian process: search 3"):
            process(observed([1, 2, 1, 2], [1, 2, 3, 4]))


@pytest.mark.parametrize(
    ("ratios", "scores", "settings_", "words"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], {}, "4 distinct ratios .* search 5 or more or fit degree 2"),
        ([1, -2, 3], [1, 2, 3], {}, "ratio -2 in row 2"),
        ([1, 0, 3], [1, 2, 3], {}, "ratio 0 in row 2"),
        ([1, 2], [None, float("nan")], {}, "none of the 2 rows has a score"),
        ([], [], {}, "none of the 0 rows"),
        ([1, 2, 3], [1, 2], {}, "3 ratios but 2 scores"),
        ([1, 2, 3], [1, "x", 2], {}, "score in row 2: expected a number, got 'x'"),
        (PAPER_GRID, PAPER_GRID, {"degree": 0}, "degree 0"),
        (PAPER_GRID, PAPER_GRID, {"coordinate": "sqrt"}, "ratio, log or share"),
        (PAPER_GRID, PAPER_GRID, {"confidence": 1.0}, "between 0 and 1"),
        ([1e-8, 1e-7, 1e-6, 1e-5, 1e6], [1, 2, 3, 4, 5], {}, "too close together"),
    ],
)
def test_data_that_cannot_be_fitted_is_refused_with_advice(ratios, scores, settings_, words):
    with pytest.raises(ValueError, match=words):
        fit(ratios, scores, **settings_)


def test_no_prediction_outside_the_searched_interval():
    found = fit(*repeated(0.3))
    with pytest.raises(ValueError, match="only from ratio"):
        predict(found, [0.05])
