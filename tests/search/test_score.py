"""The score of a trial: which tasks count, and how the questions do."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.search.trials import TrialMetrics, score_of

MEASURED = TrialMetrics(0.2, 0.7, 0.4, 0.3, 0.5, 0.7, 144, 96, "max_steps", "")
shares = st.floats(0, 1)


@given(shares, shares)
def test_questions_count_by_accuracy_or_by_probability(accuracy, probability):
    found = replace(MEASURED, accuracy=accuracy, probability=probability)
    assert score_of("interpreting", "accuracy", found) == accuracy
    assert score_of("interpreting", "probability", found) == probability
    assert score_of("both", "accuracy", found) == pytest.approx((accuracy + 0.6) / 2)
    assert score_of("both", "probability", found) == pytest.approx((probability + 0.6) / 2)


@pytest.mark.parametrize("answers", ["accuracy", "probability"])
@pytest.mark.parametrize("undefined", ["srcc", "plcc"])
def test_a_correlation_that_is_undefined_leaves_no_score_of_both_tasks(answers, undefined):
    found = replace(MEASURED, **{undefined: None})
    assert score_of("both", answers, found) is None
    assert score_of("interpreting", answers, found) is not None
