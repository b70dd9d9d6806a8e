"""Paired differences: a planted shift is found, and nothing is found where there is none."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.evaluation.differences import FEW, FLIPS, paired_difference

SCORES = st.floats(1, 5, allow_nan=False)
PAIRS = st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=12)


def columns(pairs):
    return [a for a, _ in pairs], [b for _, b in pairs]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([-0.3, -0.1, 0.2]))
def test_a_planted_shift_is_found(seed, shift):
    rng = np.random.default_rng(seed)
    a = rng.uniform(2, 4, 200)
    b = a + shift + rng.normal(0, abs(shift), 200)
    found = paired_difference(a, b)
    assert found.difference == pytest.approx(np.mean(b - a))
    assert found.difference == pytest.approx(found.mean_b - found.mean_a)
    assert found.interval[0] < found.difference < found.interval[1]
    assert abs(found.difference - shift) < 6 * abs(shift) / np.sqrt(200)
    assert found.p_value == pytest.approx(2 / (FLIPS + 1))
    assert (found.share_worse > 0.75) == (shift < 0)


def test_without_a_shift_small_p_values_are_as_rare_as_they_say():
    """Skewed, with ties and zeros: what a signed-rank test has to treat apart."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        size = rng.choice([0, 0.1, 0.1, 0.5, 2], 12)
        found.append(paired_difference(np.zeros(12), size * rng.choice([-1, 1], 12)).p_value)
    known = np.array([p for p in found if p is not None])
    assert known.size > 250
    for level in (0.05, 0.2):
        assert np.mean(known <= level) < level + 3 * np.sqrt(level / known.size)


@settings(deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=6, max_size=8))
def test_the_p_value_of_few_pairs_counts_all_sign_flips(steps):
    found = paired_difference(np.zeros(len(steps)), steps)
    changes = [step for step in steps if step]
    if len(changes) < 6:
        assert found.p_value is None
        assert found.reason
        return
    signs = np.array(list(itertools.product([-1, 1], repeat=len(changes))))
    as_far = np.abs(signs @ changes) >= abs(sum(changes))
    assert found.p_value == pytest.approx(as_far.mean())


@settings(deadline=None)
@given(PAIRS)
def test_swapped_folders_swap_the_result(pairs):
    a, b = columns(pairs)
    found, swapped = paired_difference(a, b), paired_difference(b, a)
    assert (found.mean_a, found.mean_b) == (swapped.mean_b, swapped.mean_a)
    assert found.difference == -swapped.difference
    assert (found.share_worse, found.share_equal) == (swapped.share_better, swapped.share_equal)
    assert found.share_worse + found.share_better + found.share_equal == pytest.approx(1)
    assert found.p_value == (swapped.p_value and pytest.approx(swapped.p_value))
    assert (found.interval is None) == (len(pairs) < FEW)
    if found.interval:
        low, high = swapped.interval
        assert found.interval == pytest.approx((-high, -low), abs=1e-12)


@settings(deadline=None)
@given(st.lists(SCORES, min_size=1, max_size=30))
def test_identical_scores_differ_by_exactly_zero(scores):
    found = paired_difference(scores, scores)
    assert (found.difference, found.share_equal) == (0, 1)
    assert (found.p_value, found.reason) == (None, "no pair differs")
    assert found.interval in (None, (0, 0))


def test_five_pairs_are_too_few_and_six_are_enough():
    few = paired_difference([1] * 5, [2] * 5)
    assert (few.p_value, few.reason) == (None, "5 of 5 pairs differ; 6 or more are needed")
    assert paired_difference([1] * 6, [2, 3, 2, 4, 2, 2]).p_value == pytest.approx(2 / 2**6)


def test_rounding_counts_as_no_difference():
    noise = np.random.default_rng(0).uniform(-5e-5, 5e-5, 50)
    found = paired_difference(np.full(50, 3.0), 3.0 + np.abs(noise), rounding=1e-4)
    assert (found.share_equal, found.p_value) == (1, None)
    assert found.difference == pytest.approx(np.abs(noise).mean())
