"""Two models over repeats: the interval of their difference is over photographs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.errors import InputError
from qsit_ray.evaluation import correlation
from qsit_ray.evaluation.repeats import Repeat, difference, share_right


def repeat(seed, better=0.0, photographs=6, crops=20):
    """B's values are the truth with noise; A's have less noise where it is `better`."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=photographs * crops)
    names = np.repeat([f"photograph {number}" for number in range(photographs)], crops)
    a, b = (truth + rng.normal(size=truth.size, scale=scale) for scale in (2.0 * (1 - better), 2.0))
    return Repeat(truth, a, b, names)


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 2**20))
def test_the_difference_is_that_of_the_means_over_repeats(seed):
    repeats = [repeat(seed + number) for number in range(3)]
    found = difference(repeats)
    assert found.a == pytest.approx(np.mean([correlation.srcc(r.truth, r.a) for r in repeats]))
    assert found.b == pytest.approx(np.mean([correlation.srcc(r.truth, r.b) for r in repeats]))
    assert found.difference == pytest.approx(found.a - found.b)
    low, high = found.interval
    assert low <= found.difference <= high


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 2**20))
def test_a_model_that_is_better_on_every_photograph_is_told_from_the_other(seed):
    found = difference([repeat(seed + number, better=0.8) for number in range(3)])
    assert found.interval[0] > 0
    assert found.p_value < 0.05


def test_the_same_model_twice_differs_by_nothing():
    one = repeat(0)
    found = difference([Repeat(one.truth, one.a, one.a, one.photographs)] * 2)
    assert (found.difference, found.interval, found.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_accuracy_counts_answers_that_are_right():
    truth = np.array([0.0, 1.0, 2.0, 1.0])
    names = np.array(["a", "a", "b", "b"])
    found = difference([Repeat(truth, truth, np.zeros(4), names)], share_right)
    assert (found.a, found.b) == (1.0, 0.25)


def test_data_sets_of_other_scales_are_not_ranked_together():
    rng = np.random.default_rng(0)
    truth = np.concatenate([rng.uniform(1, 5, 30), rng.uniform(0, 100, 30)])
    values = np.concatenate([truth[:30] + 1000, truth[30:]])
    names, sets = np.repeat(["a", "b", "c", "d"], 15), np.repeat(["first", "second"], 30)
    found = difference([Repeat(truth, values, -values, names, sets)])
    assert (found.a, found.b) == (1.0, -1.0)
    assert correlation.srcc(truth, values) < 0.5


def test_one_photograph_gives_no_interval():
    found = difference([repeat(0, photographs=1)])
    assert (found.interval, found.p_value) == (None, None)
    assert found.difference is not None


def test_repeats_of_other_photographs_are_refused():
    with pytest.raises(InputError, match="different photographs"):
        difference([repeat(0), repeat(1, photographs=5)])
