"""The cluster bootstrap: reproducible draws, and intervals of a mean."""

import numpy as np
import pytest

from qsit_ray.errors import InputError
from qsit_ray.evaluation.intervals import DEFAULT, Bootstrap, cluster_numbers, resampled_clusters


def test_the_same_arguments_give_the_same_draws_and_a_generator_continues():
    first, again = (list(resampled_clusters(7, 3, resamples=5)) for _ in range(2))
    assert np.array_equal(first, again)
    assert np.shape(first) == (5, 7) and set(np.ravel(first)) <= set(range(7))
    rng = np.random.default_rng(3)
    continued = [list(resampled_clusters(7, rng, resamples=n)) for n in (2, 3)]
    assert np.array_equal(np.concatenate(continued), first)
    assert np.shape(list(resampled_clusters(7, 3, resamples=5, size=4))) == (5, 4)


def test_below_two_clusters_there_is_no_interval():
    assert list(resampled_clusters(1, 0)) == list(resampled_clusters(0, 0)) == []
    clusters = cluster_numbers(["a"] * 4, 4)
    assert DEFAULT.mean_interval([1, 2, 3, 4], clusters) is None


def test_the_interval_of_a_mean_has_the_width_of_its_standard_error():
    values = np.random.default_rng(0).normal(size=400)
    low, high = DEFAULT.mean_interval(values, np.arange(400))
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_values_that_are_mostly_undefined_have_no_percentiles():
    bootstrap = Bootstrap(confidence=0.9)
    assert bootstrap.percentiles([np.nan, np.nan, 1.0]) is None
    assert bootstrap.percentiles([np.nan, 2.0, 2.0]) == (2, 2)


@pytest.mark.parametrize("confidence", [0, 1, 95, float("nan")])
def test_a_confidence_is_between_0_and_1(confidence):
    with pytest.raises(InputError, match="between 0 and 1"):
        Bootstrap(confidence=confidence)
