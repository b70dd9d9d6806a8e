"""The progress of a search: trials by state, hours, and the time that is left."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.search.progress import Progress
from qsit_ray.search.trials import TrialOutcome

POINTS = [(ratio, seed) for ratio in (0.5, 1.0, 2.0) for seed in (0, 1)]


def longest(ratio):
    return int(100 * ratio)


def completed(point, steps, seconds):
    return TrialOutcome(*point, steps=steps, device_seconds=seconds)


def failed(point):
    return TrialOutcome(*point, status="failed", reason="out of memory")


@pytest.fixture
def progress():
    return Progress(len(POINTS), longest, POINTS)


def test_each_trial_is_in_one_state(progress):
    assert progress.states() == {"waiting": 6, "running": 0, "completed": 0, "failed": 0}
    progress.start(POINTS[0])
    progress.start(POINTS[1])
    progress.report(POINTS[1], 10, 5.0)
    assert progress.states() == {"waiting": 4, "running": 2, "completed": 0, "failed": 0}
    progress.end(completed(POINTS[0], 50, 25.0))
    progress.end(failed(POINTS[1]))
    assert progress.states() == {"waiting": 4, "running": 0, "completed": 1, "failed": 1}
    progress.start(POINTS[2])
    progress.stop(POINTS[2])  # its node was lost
    assert progress.states() == {"waiting": 4, "running": 0, "completed": 1, "failed": 1}


def test_hours_are_of_trials_that_completed_or_run(progress):
    progress.end(completed(POINTS[0], 50, 25.0))
    progress.start(POINTS[1])
    progress.report(POINTS[1], 10, 5.0)
    progress.wasted = {"a": 3.0, "b": 4.0}
    assert (progress.seconds_used(), progress.seconds_wasted()) == (30.0, 7.0)
    progress.stop(POINTS[1])  # to go on from its checkpoint
    assert progress.seconds_used() == 30.0
    progress.start(POINTS[1])
    assert progress.seconds_used() == 30.0
    progress.end(failed(POINTS[1]))
    assert progress.seconds_used() == 25.0


def test_the_time_left_is_that_of_the_trials_ahead_at_the_pace_so_far(progress):
    assert progress.seconds_left() is None
    progress.start((2.0, 0))
    progress.start((2.0, 1))
    assert progress.seconds_left() is None
    progress.report((2.0, 0), 50, 100.0)  # two seconds a step
    progress.report((2.0, 1), 50, 100.0)
    # 150 steps of each are left; then both slots take 100 and 50 steps.
    assert progress.seconds_left() == pytest.approx(2 * (150 + 100 + 50))


def test_trials_ahead_are_taken_to_be_as_long_as_those_that_completed(progress):
    progress.end(completed((2.0, 0), 100, 100.0))  # half of the steps that it might have taken
    progress.start((2.0, 1))
    progress.report((2.0, 1), 80, 80.0)
    assert progress.seconds_left() == pytest.approx(20 + (2 * 100 + 2 * 50) / 2)
    progress.report((2.0, 1), 150, 150.0)  # longer than expected
    assert progress.seconds_left() == pytest.approx((2 * 100 + 2 * 50) / 2)


def test_trials_of_an_adaptive_search_are_as_long_as_those_known():
    progress = Progress(4, longest)
    progress.start((1.0, 0))
    progress.report((1.0, 0), 100, 100.0)
    assert progress.seconds_left() == pytest.approx(3 * 100)
    progress.stop((1.0, 0))  # it waits again
    assert progress.seconds_left() == pytest.approx(4 * 100)


@given(st.lists(st.sampled_from(POINTS), unique=True), st.floats(0.01, 100))
@settings(deadline=None)
def test_no_time_is_left_once_all_trials_have_ended_and_never_less(order, pace):
    progress = Progress(len(POINTS), longest, POINTS)
    for point in order:
        progress.end(completed(point, longest(point[0]), pace * longest(point[0])))
    if not order:
        assert progress.seconds_left() is None
    elif len(order) == len(POINTS):
        assert progress.seconds_left() == 0
    else:
        rest = sum(longest(ratio) for ratio, seed in set(POINTS) - set(order))
        assert progress.seconds_left() == pytest.approx(pace * rest)
