"""The controller grows the side that lags behind λ, and answers the same when asked again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.controller import MixtureController, Rule
from qsit_ray.mixture import Mixture

FIRST = Mixture(100, 200, 80)
losses = st.floats(0.01, 10)


def controller(**rule):
    return MixtureController(FIRST, reference_loss_ratio=0.5, rule=Rule(**rule))


def test_scoring_ahead_grows_the_blend_and_keeps_its_ratio():
    decision = controller(step=0.5).observe(0, loss_scoring=0.3, loss_interpreting=1.0)
    assert decision.verdict == "grow_interpreting"
    assert decision.next_sizes == Mixture(100, 300, 120)


def test_scoring_behind_grows_scoring():
    decision = controller(step=0.2).observe(0, loss_scoring=0.7, loss_interpreting=1.0)
    assert decision.verdict == "grow_scoring"
    assert decision.next_sizes == Mixture(120, 200, 80)


def test_within_the_tolerance_nothing_changes():
    decision = controller(tolerance=0.05).observe(0, 0.52, 1.0)
    assert decision.verdict == "hold"
    assert decision.next_sizes == FIRST


@given(st.lists(st.tuples(losses, losses), min_size=1, max_size=12))
def test_growth_is_capped_and_never_shrinks(history):
    subject = controller(step=0.4, max_growth=1.5)
    for epoch, (scoring, interpreting) in enumerate(history):
        before = subject.mixture(epoch)
        after = subject.observe(epoch, scoring, interpreting).next_sizes
        assert all(after.counts()[d] >= before.counts()[d] for d in after.counts())
        assert after.scoring <= 150
        assert after.interpreting + after.general <= 420


@given(st.lists(st.floats(0.01, 0.4), min_size=1, max_size=12))
def test_the_blend_keeps_its_ratio_however_often_it_grows(ratios):
    subject = controller(step=0.07, max_growth=5.0)
    for epoch, ratio in enumerate(ratios):
        sizes = subject.observe(epoch, ratio, 1.0).next_sizes
        assert abs(sizes.interpreting - 2.5 * sizes.general) <= 1.75


@given(st.lists(st.tuples(losses, losses), min_size=1, max_size=6))
def test_observing_an_epoch_again_gives_the_same_answer(history):
    subject = controller()
    for epoch, pair in enumerate(history):
        assert subject.observe(epoch, *pair) == subject.observe(epoch, *pair)
    assert len(subject.decisions) == len(history)


@given(st.lists(st.tuples(losses, losses), max_size=6))
def test_a_new_controller_takes_up_the_state(history):
    subject, successor = controller(), controller()
    for epoch, pair in enumerate(history):
        subject.observe(epoch, *pair)
    successor.begin(json.loads(json.dumps(subject.state())))
    assert successor == subject
    assert successor.position() == (len(history), subject.mixture(len(history)))


@pytest.mark.parametrize("loss", [0.0, -1.0, float("nan"), float("inf")])
def test_a_loss_that_is_no_loss_is_refused(loss):
    with pytest.raises(ValueError, match="loss_scoring"):
        controller().observe(0, loss, 1.0)


def test_epochs_are_observed_in_order():
    with pytest.raises(ValueError, match="epoch 1 is not decided"):
        controller().observe(1, 0.5, 1.0)
