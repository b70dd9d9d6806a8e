"""Numbers are written out, with their sign where they are differences."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.report import formats


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1234, "+0.123"), (-0.1236, "−0.124"), (-0.0001, "0.000"), (0.0004, "0.000"), (None, "–")],
)
def test_signed(value, text):
    assert formats.signed(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.1, "+10.0"), (-0.0512, "−5.1"), (-0.0001, "0.0"), (None, "–")]
)
def test_points_of_a_per_cent(value, text):
    assert formats.points(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04567, "0.046"), (1.0, "1.0"), (0.00099, "< 0.001"), (0.0, "< 0.001"), (None, "–")],
)
def test_p_values(value, text):
    assert formats.p_value(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [("cosine", "cosine"), (None, "null"), ([0.1, 3], "[0.1, 3]"), (True, "true")],
)
def test_settings_are_written_as_in_a_file(value, text):
    assert formats.setting(value) == text


@settings(deadline=None)
@given(st.floats(-1, 1))
def test_no_zero_has_a_sign(value):
    for text in (formats.fixed(value), formats.signed(value), formats.percent(value)):
        assert not (text[0] in "+−" and float(text[1:].rstrip("\xa0%")) == 0)
