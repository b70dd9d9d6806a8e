"""Noise that differs by ratio is found in repeats, and rows count by their precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.surrogate.curve import process
from qsit_ray.surrogate.gaussian_process import posterior
from qsit_ray.surrogate.noise import relative_variances
from qsit_ray.surrogate.observations import observed

RATIOS = np.repeat(np.geomspace(0.1, 10, 19), 3)
PLACE = np.log10(RATIOS)


def noisy(seed, steep, ratios=RATIOS):
    """A hill at ratio 1 with noise of .005, `steep` times as large at an end as in the middle."""
    rng = np.random.default_rng(seed)
    hill = 0.7 - 0.02 * np.log10(ratios) ** 2
    return observed(
        ratios, hill + 0.005 * steep ** np.log10(ratios) * rng.standard_normal(ratios.size)
    )


@pytest.mark.parametrize("steep", [0.2, 5.0])
def test_planted_noise_is_found(steep):
    found = [relative_variances(noisy(seed, steep)) for seed in range(40)]
    slopes = [np.polyfit(PLACE, np.log(each), 1)[0] / 2 for each in found]
    assert np.median(slopes) == pytest.approx(np.log(steep), abs=0.2)
    assert np.std(slopes) < 0.35


def test_equal_noise_is_seldom_taken_for_unequal():
    found = [relative_variances(noisy(seed, 1.0)) for seed in range(200)]
    assert sum(each is not None for each in found) <= 12


def test_without_repeats_nothing_is_told():
    assert relative_variances(noisy(0, 5.0, np.unique(RATIOS))) is None
    assert relative_variances(observed(RATIOS, np.full(RATIOS.size, 0.5))) is None


@given(
    seed=st.integers(0, 2**31),
    scale=st.floats(1e-6, 1e6),
    offset=st.floats(-1e3, 1e3),
)
@settings(deadline=None)
def test_units_do_not_matter(seed, scale, offset):
    seen = noisy(seed, 4.0)
    found = relative_variances(seen)
    same = relative_variances(observed(RATIOS, scale * (seen.scores * 1e3 + offset)))
    assert (found is None) == (same is None)
    if found is not None:
        np.testing.assert_allclose(same, found, rtol=1e-5)


def test_rows_of_equal_variance_are_as_without_variances():
    seen = noisy(0, 1.0)
    known = posterior(seen.ratios, seen.scores, seen.low, seen.high)
    same = posterior(
        seen.ratios, seen.scores, seen.low, seen.high, variances=np.full(seen.scores.size, 1.0)
    )
    np.testing.assert_allclose(same.mean, known.mean)
    np.testing.assert_allclose(same.covariance, known.covariance)
    assert same.noise == known.noise


def test_a_quiet_end_is_known_better_and_a_noisy_one_worse():
    seen = noisy(1, 5.0)
    equal = posterior(seen.ratios, seen.scores, seen.low, seen.high)
    told = posterior(
        seen.ratios, seen.scores, seen.low, seen.high, variances=relative_variances(seen)
    )
    sd, sd_equal = (np.sqrt(np.diag(each.covariance)) for each in (told, equal))
    assert sd[20] < 0.7 * sd_equal[20]
    assert sd[-1] > 1.3 * sd_equal[-1]


def test_the_recommended_curve_covers_a_peak_at_the_quiet_end():
    """Of 40 searches whose best ratio lies where the noise is a fifth of that in the middle, the
    interval is far narrower than with one noise for all, and holds it."""
    covered, widths = 0, []
    for seed in range(40):
        rng = np.random.default_rng([7, seed])
        truth = 0.7 - 0.02 * (PLACE + 0.6) ** 2
        seen = observed(RATIOS, truth + 0.003 * 6.0**PLACE * rng.standard_normal(RATIOS.size))
        low, high = process(seen).interval
        covered += low <= 10**-0.6 <= high
        widths.append(np.log10(high / low))
    assert covered >= 36
    assert np.median(widths) < 0.9


def test_thousands_of_repeats_are_no_trouble():
    many = np.repeat(np.geomspace(0.1, 10, 5), 1000)
    found = np.log(relative_variances(noisy(0, 5.0, many)))
    assert np.polyfit(np.log10(many), found, 1)[0] / 2 == pytest.approx(np.log(5.0), abs=0.1)


def test_a_few_repeats_tell_nothing():
    few = observed([0.1, 0.1, 10, 10], [0.7, 0.7, 0.6, 0.62])
    assert relative_variances(few) is None
