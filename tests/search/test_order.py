import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.mixture import AXES, mixture_on_axis
from qsit_ray.presets import paper
from qsit_ray.search.order import longest_first, lower_bound, makespan

durations = st.lists(st.floats(0.1, 10), min_size=1, max_size=40)


def test_longer_trials_start_first_and_equals_keep_their_order():
    points = [(0.5, 0), (0.5, 1), (2.0, 0), (2.0, 1), (1.0, 0)]
    steps = {0.5: 7, 1.0: 7, 2.0: 9}
    expected = [(2.0, 0), (2.0, 1), (0.5, 0), (0.5, 1), (1.0, 0)]
    assert longest_first(points, steps.__getitem__) == expected


@pytest.mark.parametrize("axis", AXES)
def test_the_papers_grid_starts_with_its_largest_mixtures(axis):
    config = paper()
    sizes, space = config.expected_sizes, config.space(axis)
    steps = {
        r: config.search.longest(mixture_on_axis(axis, r, sizes, 2.42).total) for r in space.ratios
    }
    points = [(ratio, seed) for ratio in space.ratios for seed in space.seeds]
    ordered = longest_first(points, steps.__getitem__)
    assert sorted(ordered) == sorted(points)
    lengths = [steps[ratio] for ratio, _ in ordered]
    assert lengths == sorted(lengths, reverse=True)
    # The whole of D2 and D3; the largest blend.
    assert ordered[0][0] == {"interpreting_general": 1.0, "interpreting_scoring": 10.0}[axis]


def test_makespan_of_a_schedule_drawn_by_hand():
    # a: 3 ───, b: 1 ─ then c: 1 ─ then d: 4 ────
    assert makespan([3, 1, 1, 4], slots=2) == 6
    assert makespan([4, 3, 1, 1], slots=2) == 5
    assert lower_bound([3, 1, 1, 4], slots=2) == 4.5
    assert lower_bound([9, 1], slots=2) == 9
    assert makespan([], slots=3) == lower_bound([], slots=3) == 0


def test_no_slot_is_refused():
    with pytest.raises(ValueError, match="0 slots"):
        makespan([1.0], slots=0)


@given(durations, st.integers(1, 9))
def test_no_order_beats_the_bound_and_the_longest_first_comes_near(trials, slots):
    bound = lower_bound(trials, slots)
    assert makespan(trials, slots) >= bound * (1 - 1e-12)
    points = [(duration, 0) for duration in trials]
    ordered = [duration for duration, _ in longest_first(points, lambda duration: duration)]
    # A trial that had to wait is no longer than the longest that did not start at once, and waited
    # while every slot was busy.
    waited = max(ordered[slots:], default=0.0)
    most = max(ordered[0], sum(trials) / slots + (1 - 1 / slots) * waited)
    assert makespan(ordered, slots) <= most * (1 + 1e-9)
