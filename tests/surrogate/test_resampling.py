"""The noise of one run, and the F-test for an effect of the ratio."""

import numpy as np
import pytest

from qsit_ray.surrogate.observations import observed
from qsit_ray.surrogate.resampling import noise_and_flatness, orthonormal


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
