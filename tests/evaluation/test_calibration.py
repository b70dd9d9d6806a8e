"""Calibration: mean predictions in bins of the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.errors import InputError
from qsit_ray.evaluation.calibration import LEAST_ROWS, MOST_BINS, calibration


def test_a_planted_line_is_found():
    truth = np.arange(100.0)
    found = calibration(truth, 2 * truth + 1)
    assert len(found) == MOST_BINS and {each.rows for each in found} == {10}
    for each in found:
        assert each.prediction == pytest.approx(2 * each.truth + 1)
        assert each.interval[0] <= each.prediction <= each.interval[1]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=60))
def test_every_row_is_in_one_bin_and_equal_truths_share_theirs(values):
    truth = np.array(values, float)
    found = calibration(truth, np.arange(truth.size, dtype=float))
    assert sum(each.rows for each in found) == truth.size
    assert len(found) <= max(1, truth.size // LEAST_ROWS)
    means = [each.truth for each in found]
    assert means == sorted(means) and len(set(means)) == len(means)
    total = sum(each.rows * each.prediction for each in found)
    assert total == pytest.approx(np.arange(truth.size).sum())


def test_rows_of_one_photograph_have_no_interval():
    assert calibration([1, 2, 3], [1, 2, 3], cluster=["a", "a", "a"])[0].interval is None


@pytest.mark.parametrize(("truth", "prediction"), [([], []), ([1], [1, 2])])
def test_columns_that_do_not_fit_are_refused(truth, prediction):
    with pytest.raises(InputError, match="each row needs both"):
        calibration(truth, prediction)
