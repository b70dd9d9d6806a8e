"""A smooth response is recovered with true uncertainty; leave-one-out errors are of refits."""

import numpy as np
import pytest

from qsit_ray.errors import InputError
from qsit_ray.surrogate.gaussian_process import (
    interpolated_argmax,
    leave_one_out_errors,
    posterior,
)

LOW, HIGH = 0.1, 10.0
GRID = np.geomspace(LOW, HIGH, 15)


def response(ratios, peak=2.0):
    return 0.7 + 0.04 / np.cosh(np.log(np.asarray(ratios) / peak))


def repeated(noise, repeats=3, seed=0, peak=2.0):
    ratios = np.repeat(GRID, repeats)
    return ratios, response(ratios, peak) + noise * np.random.default_rng(seed).standard_normal(
        ratios.size
    )


def test_a_response_without_noise_is_recovered():
    found = posterior(GRID, response(GRID), LOW, HIGH)
    assert np.abs(found.mean - response(found.ratios)).max() < 1e-3
    assert found.optimum == pytest.approx(2.0, rel=0.03)
    assert found.noise < 1e-3


def test_samples_have_the_posterior_s_mean_and_covariance_and_follow_the_seed():
    found = posterior(*repeated(0.006), LOW, HIGH)
    drawn = found.samples(4000, seed=1)
    deviation = np.sqrt(np.diag(found.covariance))
    assert drawn.shape == (4000, found.ratios.size)
    assert np.abs((drawn.mean(axis=0) - found.mean) / deviation).max() < 0.1
    assert np.abs(drawn.std(axis=0) / deviation - 1).max() < 0.1
    assert np.array_equal(drawn[:3], found.samples(4000, seed=1)[:3])
    assert not np.array_equal(drawn[0], found.samples(4000, seed=2)[0])


def test_the_intervals_cover_the_true_response():
    inside = []
    for seed in range(20):
        found = posterior(*repeated(0.006, seed=seed), LOW, HIGH)
        deviation = np.sqrt(np.diag(found.covariance))
        inside.append(np.abs(found.mean - response(found.ratios)) < 1.96 * deviation)
    assert np.mean(inside) > 0.9


def test_repeats_reduce_the_variance_and_determine_the_noise():
    once, thrice = (posterior(*repeated(0.006, repeats), LOW, HIGH) for repeats in (1, 3))
    assert np.trace(thrice.covariance) < np.trace(once.covariance)
    assert thrice.noise == pytest.approx(0.006, rel=0.3)
    ratios, scores = repeated(0.006)
    order = np.random.default_rng(5).permutation(ratios.size)
    again = posterior(ratios[order], scores[order], LOW, HIGH)
    assert np.allclose(again.mean, thrice.mean)


def test_shift_and_scale_of_the_scores_apply_to_the_posterior():
    ratios, scores = repeated(0.006)
    plain, moved = (posterior(ratios, s, LOW, HIGH) for s in (scores, 100 * scores - 7))
    assert np.allclose(moved.mean, 100 * plain.mean - 7)
    assert np.allclose(moved.covariance, 1e4 * plain.covariance)


def test_leave_one_out_errors_are_those_of_refitting():
    ratios, scores = repeated(0.006)
    errors = leave_one_out_errors(ratios, scores, LOW, HIGH)
    for ratio in (GRID[0], GRID[6], GRID[14]):
        rest = ratios != ratio
        refitted = posterior(ratios[rest], scores[rest], LOW, HIGH)
        predicted = refitted.mean_at([ratio])
        assert np.allclose(errors[~rest], scores[~rest] - predicted, atol=2e-5)


def test_the_deviation_grows_far_from_any_score():
    found = posterior([0.1, 0.1, 0.2, 0.2], [0.70, 0.71, 0.72, 0.71], LOW, HIGH)
    deviation = np.sqrt(np.diag(found.covariance))
    assert deviation[-1] > 2 * deviation[0]


def test_many_distinct_ratios_and_equal_scores_are_handled():
    many = np.geomspace(LOW, HIGH, 700)
    found = posterior(many, response(many), LOW, HIGH)
    assert np.abs(found.mean - response(found.ratios)).max() < 2e-3
    flat = posterior(GRID, np.full(GRID.size, 0.7), LOW, HIGH)
    assert np.allclose(flat.mean, 0.7) and np.all(np.isfinite(flat.samples(10, 0)))


def test_the_argmax_is_finer_than_the_grid_and_marks_ends():
    grid = np.arange(9.0)
    curves = np.stack([-((grid - top) ** 2) for top in (3.3, 0.0, 9.0)])
    places, end = interpolated_argmax(curves)
    assert np.allclose(places, [3.3, 0, 8])
    assert end.tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("ratios", "scores", "low", "high", "words"),
    [
        ([1.0], [1.0], 0.1, 10, "1 scores are too few"),
        ([1, -2], [1, 2], 0.1, 10, "must be positive"),
        ([1, 2], [1, np.nan], 0.1, 10, "score finite"),
        ([1, 2, 3], [1, 2], 0.1, 10, "one of each per row"),
        ([1, 2], [1, 2], 10, 0.1, "0 < low < high, got 10 to 0.1"),
    ],
)
def test_unusable_data_is_refused(ratios, scores, low, high, words):
    with pytest.raises(InputError, match=words):
        posterior(ratios, scores, low, high)
