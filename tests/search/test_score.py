"""The score of a trial: which tasks count, and how the questions do."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qsit_pools import losses

from qsit_ray.mixture import Mixture
from qsit_ray.search.trials import TrialMetrics, loss_score, score_of, watched_loss

MEASURED = TrialMetrics(losses(0.2, 0.7), 0.4, 0.3, 0.5, 0.7, 144, 96, "max_steps", "")
shares = st.floats(0, 1)


@given(shares, shares)
def test_questions_count_by_accuracy_or_by_probability(accuracy, probability):
    found = replace(MEASURED, accuracy=accuracy, probability=probability)
    assert score_of("interpreting", "accuracy", found) == accuracy
    assert score_of("interpreting", "probability", found) == probability
    assert score_of("both", "accuracy", found) == pytest.approx((accuracy + 0.6) / 2)
    assert score_of("both", "probability", found) == pytest.approx((probability + 0.6) / 2)


@given(st.floats(0.01, 20), st.floats(0.01, 20), st.floats(0.5, 0.99))
def test_a_score_of_losses_rises_as_any_of_them_falls(scoring, interpreting, share):
    before = replace(MEASURED, losses=losses(scoring, interpreting))
    after = replace(before, losses=losses(scoring, share * interpreting))
    for objective in ("loss_interpreting", "losses"):
        assert score_of(objective, "accuracy", after) > score_of(objective, "accuracy", before)
    less = replace(before, losses=losses(share * scoring, interpreting))
    assert score_of("losses", "accuracy", less) > score_of("losses", "accuracy", before)
    assert score_of("loss_interpreting", "accuracy", less) == -math.log(interpreting)


@pytest.mark.parametrize("answers", ["accuracy", "probability"])
@pytest.mark.parametrize("undefined", ["srcc", "plcc"])
def test_a_correlation_that_is_undefined_leaves_no_score_of_both_tasks(answers, undefined):
    found = replace(MEASURED, **{undefined: None})
    assert score_of("both", answers, found) is None
    assert score_of("interpreting", answers, found) is not None


def test_losses_tell_the_score_of_a_trial_under_way_only_where_they_are_the_objective():
    for objective in ("interpreting", "both"):
        assert loss_score(objective, MEASURED.losses) is None
    for objective in ("loss_interpreting", "losses"):
        assert loss_score(objective, MEASURED.losses) == score_of(objective, "accuracy", MEASURED)


@pytest.mark.parametrize(
    ("mixture", "loss"),
    [(Mixture.of(0, 5, 5), 1.0), (Mixture.of(5, 0, 5), 3.0), (Mixture.of(5, 5, 0), 2.0)],
)
def test_the_loss_that_is_watched_is_of_the_domains_that_are_trained(mixture, loss):
    assert watched_loss(mixture, losses(3.0, 1.0)) == loss
