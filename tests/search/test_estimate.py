"""A search's cost is known from its plans: trials, rows, hours."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from qsit_ray.cli.app import app
from qsit_ray.config import presets
from qsit_ray.config.config import Mix
from qsit_ray.config.files import override
from qsit_ray.config.presets import paper
from qsit_ray.errors import InputError
from qsit_ray.mixture import AXES, mixture_on_axis
from qsit_ray.search.estimate import (
    estimate,
    longest_first,
    lower_bound,
    makespan,
    papers_rate,
    planned,
)

PAPER = presets.paper()
SIZES = PAPER.expected_sizes


def test_the_papers_grid_is_114_trials_and_720_hours_at_its_own_rate():
    found = estimate(PAPER, SIZES, slots=8)
    assert found.trials == 114
    assert {axis: n.trials for axis, n in found.by_axis.items()} == {
        "interpreting_general": 57,
        "interpreting_scoring": 57,
    }
    assert found.gpu_hours == pytest.approx(720)
    assert found.wall_hours >= found.gpu_hours / 8


def test_rows_are_those_of_the_plans_over_the_most_epochs():
    # D2 : D3 = 0.1 takes all of D3 and a tenth as many rows of D2, for at most three epochs.
    rows = 157_712 + 15_771
    steps = 3 * -(-rows // 64)
    assert planned(PAPER, SIZES)["interpreting_general"][:3] == [steps * 64] * 3


def test_a_second_axis_that_an_optimum_of_the_first_would_forbid_is_refused_at_once():
    sizes = {"scoring": 200, "interpreting": 400, "general": 400}
    with pytest.raises(InputError, match=r"scoring: ratio 10 asks .* \(if .*general is 0.1\)"):
        planned(presets.demo(), sizes)


def test_hours_follow_the_rate_and_the_slots():
    slow, fast = (estimate(PAPER, SIZES, 8, rows_per_second=rate) for rate in (1.0, 4.0))
    assert slow.gpu_hours == pytest.approx(4 * fast.gpu_hours)
    assert slow.rows == fast.rows
    one = estimate(PAPER, SIZES, 1)
    assert one.wall_hours == pytest.approx(one.gpu_hours)
    many = estimate(PAPER, SIZES, 1000)
    longest = [max(rows) for rows in planned(PAPER, SIZES).values()]
    assert many.wall_hours == pytest.approx(sum(longest) / papers_rate() / 3600)


def test_a_trial_of_half_a_gpu_is_counted_as_half():
    half = override(PAPER, ["search.gpus_per_trial=0.5"])
    assert estimate(half, SIZES, 8).gpu_hours == pytest.approx(360)


def test_an_adaptive_search_is_counted_at_its_most_trials():
    adaptive = override(PAPER, ["search.adaptive={trials: 14}"])
    found = estimate(adaptive, SIZES, 8)
    assert found.trials == 28
    assert found.gpu_hours == pytest.approx(720 * 28 / 114)


def test_a_given_mix_searches_nothing():
    given_mix = PAPER.model_copy(update={"mix": Mix(scoring=1.0, interpreting=2.5, general=1.0)})
    assert estimate(given_mix, SIZES, 8).trials == 0


def test_the_command_prints_one_json_object():
    done = CliRunner().invoke(app, ["search", "estimate", "--preset", "paper", "--json"])
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert list(found) == [
        "trials", "rows", "gpu_hours", "wall_hours", "by_axis", "slots", "rows_per_second",
        "rate_from", "paper_gpu_hours", "slots_from",
    ]  # fmt: skip
    assert found["slots_from"] == "train.workers"


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["search.interpreting_general.ratios=[0.1, 1, 2, 3, -1]"], "ratios"),
        (["search.interpreting_scoring.ratios=[0.1, 1, 2, 3, 90]"], "max_repeats"),
        (["search.interpreting_general.objective=both_of_them"], "objective"),
        (["search.interpreting_scoring.axis=interpreting_general"], "interpreting_scoring"),
    ],
)
def test_an_impossible_search_is_refused_before_anything_starts(assignments, words):
    with pytest.raises(InputError, match=words):
        estimate(override(PAPER, assignments), SIZES, 8)


@pytest.mark.parametrize("impossible", [{"slots": 0}, {"slots": 8, "rows_per_second": 0.0}])
def test_impossible_clusters_are_refused(impossible):
    with pytest.raises(InputError):
        estimate(PAPER, SIZES, **impossible)


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
