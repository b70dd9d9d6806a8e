"""The noise of one run, and the test that tells an effect of the ratio from it."""

import numpy as np
import pytest
from scipy.stats import f

from qsit_ray.noise import f_tail, noise_and_flatness, orthonormal
from qsit_ray.observations import observed


@pytest.mark.parametrize("effects", [1, 2, 4, 8])
@pytest.mark.parametrize("spare", [1, 2, 14, 52, 5000])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0, 2.5, 6.0])
def test_the_tail_of_f_is_scipy_s(effects, spare, value):
    assert f_tail(value, effects, spare) == pytest.approx(f.sf(value, effects, spare), abs=1e-5)


def test_without_an_effect_one_search_in_twenty_is_not_flat():
    ratios = np.repeat(np.arange(1.0, 11), 3)
    basis, _ = orthonormal(np.linspace(-1, 1, 10).repeat(3), 4)
    rng = np.random.default_rng(0)
    found = [
        noise_and_flatness(observed(ratios, rng.normal(5, 0.2, 30)), basis, 0.95)
        for _ in range(400)
    ]
    assert np.mean([not flat for _, flat in found]) == pytest.approx(0.05, abs=0.035)
    assert np.sqrt(np.mean([noise**2 for noise, _ in found])) == pytest.approx(0.2, rel=0.05)
