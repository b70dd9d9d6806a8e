"""The controller grows the side that lags behind λ, and repeats its answer when asked again."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qsit_pools import losses as named

from qsit_ray.config.files import validated
from qsit_ray.config.train import Controller
from qsit_ray.controller import Decision, MixtureController, Reference
from qsit_ray.mixture import Mixture

FIRST = Mixture.of(100, 200, 80)
losses = st.floats(0.01, 10)


def controller(catalog=None, decisions=(), **rule):
    return MixtureController(
        FIRST, [Reference(0.0, 0.5)], Controller(**rule), catalog, list(decisions)
    )


def test_scoring_ahead_grows_the_blend_and_keeps_its_ratio():
    decision = controller(step=0.5).observe(0, named(0.3, 1.0))
    assert decision.verdict == "grow_interpreting"
    assert decision.next_sizes == Mixture.of(100, 300, 120)


def test_scoring_behind_grows_scoring():
    decision = controller(step=0.2).observe(0, named(0.7, 1.0))
    assert decision.verdict == "grow_scoring"
    assert decision.next_sizes == Mixture.of(120, 200, 80)


def test_within_the_tolerance_nothing_changes():
    decision = controller(tolerance=0.05).observe(0, named(0.52, 1.0))
    assert decision.verdict == "hold"
    assert decision.next_sizes == FIRST


def test_the_band_is_at_least_the_error_of_the_reference():
    wide = MixtureController(FIRST, [Reference(0.0, 0.5, 0.1)])
    held = wide.observe(0, named(0.59, 1.0))
    assert (held.verdict, held.tolerance) == ("hold", pytest.approx(0.2))
    narrow = MixtureController(FIRST, [Reference(0.0, 0.5, 0.001)]).observe(0, named(0.59, 1.0))
    assert (narrow.verdict, narrow.tolerance) == ("grow_scoring", Controller().tolerance)


def test_a_noisy_early_reference_widens_no_later_band():
    subject = MixtureController(FIRST, [Reference(1.0, 0.5, 0.2), Reference(2.0, 0.5, 0.005)])
    assert subject.observe(0, named(0.65, 1.0)).verdict == "hold"
    assert subject.observe(1, named(0.65, 1.0)).verdict == "grow_scoring"


def test_each_epoch_is_held_against_the_reference_of_as_many_epochs():
    """Between two of them by distance; beyond the last it stays."""
    subject = MixtureController(FIRST, [Reference(0.5, 0.8), Reference(2.0, 0.2)])
    held = [subject.reference(n).loss_ratio for n in range(4)]
    assert held == pytest.approx([0.6, 0.2, 0.2, 0.2])
    assert subject.observe(0, named(0.6, 1.0)).verdict == "hold"
    second = subject.observe(1, named(0.6, 1.0))
    assert second.verdict == "grow_scoring"
    assert second.reference_loss_ratio == pytest.approx(0.2)


def test_without_a_rule_nothing_changes_and_the_reference_is_recorded():
    decision = MixtureController(FIRST, [Reference(0.0, 0.5)], rule=None).observe(
        0, named(5.0, 1.0)
    )
    assert (decision.verdict, decision.next_sizes) == ("hold", FIRST)
    assert decision.reference_loss_ratio == 0.5


@given(st.lists(st.tuples(losses, losses), min_size=1, max_size=12))
def test_growth_is_capped_and_never_shrinks(history):
    subject = controller(step=0.4, max_growth=1.5)
    for epoch, (scoring, interpreting) in enumerate(history):
        before = subject.mixture(epoch)
        after = subject.observe(epoch, named(scoring, interpreting)).next_sizes
        assert all(after[d] >= before[d] for d in after)
        assert after["scoring"] <= 150
        assert after["interpreting"] + after["general"] <= 420


@given(st.lists(st.floats(0.01, 0.4), min_size=1, max_size=12))
def test_the_blend_keeps_its_ratio_however_often_it_grows(ratios):
    subject = controller(step=0.07, max_growth=5.0)
    for epoch, ratio in enumerate(ratios):
        sizes = subject.observe(epoch, named(ratio, 1.0)).next_sizes
        assert abs(sizes["interpreting"] - 2.5 * sizes["general"]) <= 1.75


@given(st.lists(st.tuples(losses, losses), min_size=1, max_size=6))
def test_observing_an_epoch_again_gives_the_same_answer(history):
    subject = controller()
    for epoch, pair in enumerate(history):
        assert subject.observe(epoch, named(*pair)) == subject.observe(epoch, named(*pair))
    assert len(subject.decisions) == len(history)


@given(st.lists(st.tuples(losses, losses), max_size=6))
def test_a_new_controller_continues_from_the_decisions_as_json(history):
    subject, steady = controller(), controller()
    for epoch, pair in enumerate(history):
        stored = json.loads(json.dumps([asdict(decision) for decision in subject.decisions]))
        subject = controller(decisions=validated(list[Decision], stored, "state.json"))
        assert subject.observe(epoch, named(*pair)) == steady.observe(epoch, named(*pair))
    assert subject.mixture(len(history)) == steady.mixture(len(history))


@pytest.mark.parametrize("loss", [0.0, -1.0, float("nan"), float("inf")])
def test_a_loss_that_is_not_a_positive_number_is_refused(loss):
    with pytest.raises(ValueError, match="loss of scoring"):
        controller().observe(0, named(loss, 1.0))


def test_epochs_are_observed_in_order():
    with pytest.raises(ValueError, match="epoch 1 is not decided"):
        controller().observe(1, named(0.5, 1.0))


def test_a_proportional_step_grows_with_the_deviation_whichever_side_lags():
    rule = {"step_rule": "proportional", "gain": 1.0, "max_step": 10.0, "max_growth": 10.0}
    twice = controller(**rule).observe(0, named(1.0, 1.0)).next_sizes
    half = controller(**rule).observe(0, named(0.25, 1.0)).next_sizes
    assert twice == Mixture.of(200, 200, 80)
    assert half == Mixture.of(100, 400, 160)


@given(st.floats(0.01, 10), st.floats(0.1, 3))
def test_a_proportional_step_is_never_longer_than_its_limit(ratio, gain):
    rule = {"step_rule": "proportional", "gain": gain, "max_step": 0.3}
    sizes = controller(**rule).observe(0, named(ratio, 1.0)).next_sizes
    assert sizes["scoring"] <= 130
    assert sizes["interpreting"] + sizes["general"] <= 364


def test_with_shrink_the_leading_side_gives_back_down_to_its_floor():
    subject = controller(step=0.5, shrink=True, min_growth=0.5)
    assert subject.observe(0, named(0.7, 1.0)).next_sizes == Mixture.of(150, 134, 53)
    assert subject.observe(1, named(0.7, 1.0)).next_sizes == Mixture.of(200, 100, 40)
    assert subject.observe(2, named(0.3, 1.0)).next_sizes == Mixture.of(133, 150, 60)


def test_by_default_a_shrinking_side_never_falls_below_its_first_size():
    subject = controller(step=0.5, shrink=True)
    assert subject.observe(0, named(0.7, 1.0)).next_sizes == Mixture.of(150, 200, 80)
    assert subject.observe(1, named(0.3, 1.0)).next_sizes == Mixture.of(100, 300, 120)


CATALOG = {"scoring": 55, "interpreting": 110, "general": 1000}


def test_an_exhausted_domain_is_repeated_up_to_the_cap():
    subject = controller(CATALOG, step=0.5, max_growth=9.0, max_repeats=2)
    decision = subject.observe(0, named(0.7, 1.0))
    assert decision.next_sizes["scoring"] == 110
    assert decision.limit == "max_repeats"
    # 220 of 280 rows of the blend's first 200 : 80 is where D2 has been taken twice.
    assert subject.observe(1, named(0.3, 1.0)).next_sizes == Mixture.of(110, 220, 88)


def test_an_exhausted_domain_can_hold_instead():
    decision = controller(CATALOG, exhausted="hold").observe(0, named(0.7, 1.0))
    assert decision.next_sizes == FIRST
    assert (decision.verdict, decision.limit) == ("grow_scoring", "max_repeats")


@given(
    st.lists(st.tuples(losses, losses), max_size=8),
    st.fixed_dictionaries({d: st.integers(100, 400) for d in CATALOG}),
    st.integers(2, 4),
    st.booleans(),
)
def test_no_row_is_used_more_often_than_allowed(history, catalog, repeats, shrink):
    subject = controller(catalog, step=0.9, max_growth=50.0, max_repeats=repeats, shrink=shrink)
    for epoch, pair in enumerate(history):
        sizes = subject.observe(epoch, named(*pair)).next_sizes
        assert all(sizes[d] <= max(repeats * catalog[d], FIRST[d]) for d in catalog)


def test_the_limit_is_reported_where_it_applied():
    subject = controller(step=0.6, max_growth=1.5)
    assert subject.observe(0, named(0.7, 1.0)).limit == "max_growth"
    assert controller(step=0.5, max_growth=1.5).observe(0, named(0.7, 1.0)).limit is None
