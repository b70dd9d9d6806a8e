"""The state of a training survives a file; what was trained and skipped adds up to the plan."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.controller import MixtureController
from qsit_ray.errors import InputError
from qsit_ray.mixture import Mixture, checksum, plan_epoch
from qsit_ray.train.bad_loss import BadBatch, BadBatches
from qsit_ray.train.state import Consumed, Course, Position, State

PLAN = plan_epoch(Mixture(5, 9, 4), {"scoring": 6, "interpreting": 6, "general": 6}, 0, 3, 4)


def part(steps):
    counted = Consumed()
    for step in steps:
        rows = PLAN.step_rows(step)
        rows = rows[rows >= 0]
        counted.add(checksum(np.full_like(rows, step), rows), len(rows))
    return counted


def test_a_state_comes_back_from_its_file(tmp_path):
    state = State([{"epoch": 0}], {"decisions": [1]}, 3, part([0, 1]), part([2]), {"a": 1.5}, 2)
    state.write(tmp_path)
    assert State.read(tmp_path) == state
    assert state.epoch == 1


@pytest.mark.parametrize("text", ["{", "{}", '{"consumed": {}, "skipped": {}, "what": 1}', "[]"])
def test_an_unreadable_state_is_refused_by_name(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(InputError, match=r"state\.json"):
        State.read(tmp_path)


@given(st.sets(st.integers(0, PLAN.steps - 1)))
def test_consumed_and_skipped_add_up_to_the_plan(skipped):
    trained = set(range(PLAN.steps)) - skipped
    State(consumed=part(trained), skipped=part(skipped)).check(PLAN)


@given(st.integers(0, PLAN.steps - 1), st.booleans())
def test_a_step_lost_or_trained_twice_is_noticed(step, twice):
    consumed = part([*range(PLAN.steps), step] if twice else set(range(PLAN.steps)) - {step})
    with pytest.raises(RuntimeError, match="rows planned"):
        State(consumed=consumed).check(PLAN)


def test_bad_batches_are_met_then_passed_over(tmp_path):
    batches = BadBatches(tmp_path)
    assert (batches.met(), batches.skipped()) == (None, [])
    bad = BadBatch(1, 7, "nan", [12, 55], ["a-12", "b-55"])
    batches.meet(bad)
    assert batches.met() == bad
    assert str(bad) == "epoch 1, step 7: the loss is nan; rows 12 (a-12), 55 (b-55)"
    batches.skip(bad)
    assert (batches.met(), batches.skipped()) == (None, [bad])


FIRST = Mixture(100, 200, 80)
losses = st.floats(0.01, 10)


def course():
    return Course(MixtureController(FIRST, reference_loss_ratio=0.5))


def test_the_step_stands_beside_the_epochs_mixture():
    subject = course()
    assert subject.begin({"decisions": []}, 7, 4) == Position(0, 7, FIRST, 4)
    assert subject.position() == Position(0, 7, FIRST, 4)


def test_an_actor_that_came_back_empty_serves_nothing():
    with pytest.raises(RuntimeError, match="nobody has said"):
        course().position()


@given(st.lists(st.tuples(losses, losses), min_size=1, max_size=4))
def test_decisions_are_the_same_from_an_actor_that_came_back_empty(history):
    steady, told = course(), {"decisions": []}
    for epoch, pair in enumerate(history):
        expected = steady.decide(told, epoch, *pair)
        assert course().decide(told, epoch, *pair) == expected
        _, told = expected
    assert course().begin(told, 0, 2).mixture == steady.begin(told, 0, 2).mixture


def test_what_is_shown_is_what_was_told():
    subject = course()
    assert subject.shown() == (0, 0)
    subject.show(3, 9)
    assert subject.shown() == (3, 9)
