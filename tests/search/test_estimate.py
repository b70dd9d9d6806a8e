"""A search's cost is known from its plans: trials, rows, hours."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from qsit_ray.cli.app import app
from qsit_ray.config import presets
from qsit_ray.config.files import override
from qsit_ray.config.presets import paper
from qsit_ray.errors import InputError
from qsit_ray.mixture import AXES, mixture_on_axis
from qsit_ray.models.architectures import architecture
from qsit_ray.search.estimate import (
    PAPER_HOURS,
    estimate,
    longest_first,
    lower_bound,
    makespan,
    planned,
)
from qsit_ray.search.pace import given as paced
from qsit_ray.search.pace import of_gpu

PAPER = presets.paper()
SIZES = PAPER.expected_sizes
OPTIMA = {"interpreting_general": 2.42}


RATE = paced(4.0)
SHAPE = architecture("0.5b")


def test_the_papers_grid_is_114_trials_and_its_hours_are_within_the_range_of_an_a800():
    found = estimate(PAPER, SIZES, 8, of_gpu(SHAPE, "A800"))
    assert found.trials == 114
    assert found.least_gpu_hours < PAPER_HOURS["search"] < found.gpu_hours
    assert "A800's 312 TFLOP/s" in found.rate_from
    assert {axis: n.trials for axis, n in found.by_axis.items()} == {
        "interpreting_general": 57,
        "interpreting_scoring": 57,
    }
    assert found.wall_hours >= found.gpu_hours / 8


def test_a_faster_gpu_and_a_price_are_counted():
    slow, fast = (estimate(PAPER, SIZES, 8, of_gpu(SHAPE, gpu), 2.0) for gpu in ("A800", "H100"))
    assert slow.gpu_hours / fast.gpu_hours == pytest.approx(989 / 312)
    assert fast.cost == pytest.approx(2 * fast.gpu_hours)
    assert fast.least_cost == pytest.approx(2 * fast.least_gpu_hours)
    half = estimate(PAPER, SIZES, 8, of_gpu(SHAPE, "A800", 0.2))
    assert half.gpu_hours == pytest.approx(2 * slow.gpu_hours)
    with pytest.raises(InputError, match=r"--gpu V100: its peak is not known; .*A800"):
        of_gpu(SHAPE, "V100")
    with pytest.raises(InputError, match="utilisation: 2"):
        of_gpu(SHAPE, "A800", 2.0)


def test_larger_images_cost_more():
    """A trial of D2 alone is dearer than one of D3, whose images are smaller."""
    pace = of_gpu(SHAPE, "A800")
    assert pace.seconds["interpreting"] > 1.3 * pace.seconds["general"]


def test_rows_are_those_of_the_plans_over_the_most_epochs():
    # D2 : D3 = 0.1 takes all of D3 and a tenth as many rows of D2, for at most three epochs.
    rows = 157_712 + 15_771
    steps = 3 * -(-rows // 64)
    first = planned(PAPER, SIZES)["interpreting_general"][:3]
    assert [trial.most for trial in first] == [steps * 64] * 3
    looks = PAPER.search.patience + 1
    assert first[0].least == looks * PAPER.search.evaluate_every * 64
    endless = override(PAPER, ["search.patience=null"])
    assert planned(endless, SIZES)["interpreting_general"][0].least == steps * 64


def test_a_second_axis_that_an_optimum_of_the_first_would_forbid_is_refused_at_once():
    sizes = {"scoring": 200, "interpreting": 400, "general": 400}
    with pytest.raises(InputError, match=r"scoring: ratio 31.6 asks .* \(if .*general is 0.1\)"):
        planned(presets.demo(), sizes)


def test_hours_follow_the_rate_and_the_slots():
    slow, fast = (estimate(PAPER, SIZES, 8, paced(rate)) for rate in (1.0, 4.0))
    assert slow.gpu_hours == pytest.approx(4 * fast.gpu_hours)
    assert slow.rows == fast.rows
    one = estimate(PAPER, SIZES, 1, RATE)
    assert one.wall_hours == pytest.approx(one.gpu_hours)
    many = estimate(PAPER, SIZES, 1000, RATE)
    longest = [max(trial.most for trial in trials) for trials in planned(PAPER, SIZES).values()]
    assert many.wall_hours == pytest.approx(sum(longest) / 4 / 3600)
    assert one.rows_per_second == pytest.approx(4)


def test_a_trial_of_half_a_gpu_is_counted_as_half():
    half = override(PAPER, ["search.gpus_per_trial=0.5"])
    whole = estimate(PAPER, SIZES, 8, RATE).gpu_hours
    assert estimate(half, SIZES, 8, RATE).gpu_hours == pytest.approx(whole / 2)


def test_an_adaptive_search_is_counted_at_its_most_trials_and_waits_between_rounds():
    adaptive = override(PAPER, ["search.adaptive={trials: 14, batch: 4}"])
    found = estimate(adaptive, SIZES, 8, RATE)
    assert found.trials == 28
    grid = estimate(PAPER, SIZES, 8, RATE)
    assert found.gpu_hours == pytest.approx(grid.gpu_hours * 28 / 114, rel=0.1)
    # Eight slots hold a round of four at once: each round takes its longest trial.
    trials = planned(adaptive, SIZES)
    shortest = sum(4 * min(trial.most for trial in of) for of in trials.values()) / 4 / 3600
    assert found.wall_hours > shortest
    assert estimate(adaptive, SIZES, 1000, RATE).wall_hours == found.wall_hours


def test_a_given_mix_searches_nothing():
    given_mix = PAPER.model_copy(
        update={"mix": {"scoring": 1.0, "interpreting": 2.5, "general": 1.0}}
    )
    found = estimate(given_mix, SIZES, 8, RATE)
    assert (found.trials, found.gpu_hours, found.rows_per_second) == (0, 0, 0)


def test_the_command_prints_one_json_object():
    words = ["search", "estimate", "--preset", "paper"]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert list(found) == [
        "trials", "rows", "gpu_hours", "least_gpu_hours", "wall_hours", "by_axis", "slots",
        "rows_per_second", "rate_from", "cost", "least_cost", "paper_gpu_hours", "slots_from",
    ]  # fmt: skip
    assert (found["slots_from"], found["cost"]) == ("train.workers", None)
    done = CliRunner().invoke(app, [*words, "--gpu", "H100", "--price", "2.5"])
    assert "989 TFLOP/s" in done.stdout and "cost: " in done.stdout
    both = CliRunner().invoke(app, [*words, "--gpu", "H100", "--rows-per-second", "3"])
    assert "give no --gpu with it" in str(both.exception)


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
        estimate(override(PAPER, assignments), SIZES, 8, RATE)


@pytest.mark.parametrize(
    ("slots", "rate", "price"),
    [(0, 1.0, None), (8, 0.0, None), (8, 1.0, -1), (8, 1.0, math.inf), (8, 1e-320, 1.0)],
)
def test_impossible_clusters_are_refused(slots, rate, price):
    with pytest.raises(InputError):
        estimate(PAPER, SIZES, slots, paced(rate), price)


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
        r: config.search.longest(mixture_on_axis(config.axis(axis), r, sizes, OPTIMA).total)
        for r in space.ratios
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
