"""The learning rate warms up, decays by epochs, and does not jump where an epoch changes size."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.schedule import learning_rate, share_of_peak

shares = st.floats(0.0, 1.0)


def walk(steps, epochs, warmup=0.05, final=0.1):
    """The share before each step of a run whose epochs have `steps` steps."""
    return [
        share_of_peak(epoch + step / n, epochs, warmup, final)
        for epoch, n in enumerate(steps)
        for step in range(n)
    ]


def test_it_warms_up_from_nothing_to_the_peak_and_ends_at_the_final_share():
    assert share_of_peak(0, 3, 0.1, 0.2) == 0
    assert share_of_peak(0.15, 3, 0.1, 0.2) == pytest.approx(0.5)
    assert share_of_peak(0.3, 3, 0.1, 0.2) == pytest.approx(1)
    assert share_of_peak(3, 3, 0.1, 0.2) == pytest.approx(0.2)


@given(st.lists(st.integers(40, 400), min_size=2, max_size=5), st.floats(0.0, 0.5), shares)
def test_it_falls_smoothly_after_the_warm_up_for_any_sizes_of_epochs(steps, warmup, final):
    values = walk(steps, len(steps), warmup, final)
    peak = values.index(max(values))
    after = values[peak:]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(after))
    # A half cosine's steepest slope is π/2 a run; the shortest epoch takes the longest strides.
    stride = 1 / (min(steps) * len(steps))
    assert all(
        earlier - later <= 1.6 * stride / (1 - warmup) + 1e-12 for earlier, later in pairwise(after)
    )


def test_a_warm_up_that_reaches_into_a_larger_epoch_is_spread_over_it():
    same, grown = (walk(steps, 2, warmup=0.75) for steps in ([10, 10], [10, 40]))
    assert same[:10] == grown[:10]
    assert grown[10 + 4 * 3] == pytest.approx(same[10 + 3])


def test_with_the_length_unknown_the_rate_stays_at_its_peak():
    values = walk([20, 30, 40], None, warmup=0.5)
    assert values[0] == 0
    assert values[:10] == sorted(values[:10])
    assert set(values[10:]) == {1.0}


def test_a_run_prolonged_later_has_the_same_beginning():
    assert walk([20, 30], None, 0.5) == walk([20, 30, 40, 50], None, 0.5)[:50]


@given(shares, st.floats(0.0, 0.9), shares)
def test_the_rate_is_the_share_of_its_peak(progress, warmup, final):
    rate = learning_rate(progress, 3e-4, warmup, final)
    assert rate == 3e-4 * share_of_peak(progress * 1, 1, warmup, final)
    assert 0 <= rate <= 3e-4
