"""MOS to level at the boundaries, the released labels, and level logits to scores."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.errors import InputError
from qsit_ray.evaluation import correlation
from qsit_ray.levels import (
    LEVELS,
    Range,
    expected_score,
    level_numbers,
    level_probabilities,
    mos_to_levels,
    two_level_margin,
    two_level_score,
)

tables = st.lists(st.floats(-1000, 1000), min_size=2, max_size=30, unique=True).filter(
    lambda mos: max(mos) - min(mos) > 1e-9
)
logit_rows = st.lists(st.floats(-60, 60), min_size=5, max_size=5)


@pytest.mark.parametrize(
    ("boundary", "expected"), [("right", [1, 1, 2, 2, 3, 5]), ("left", [1, 2, 2, 3, 3, 5])]
)
def test_a_mos_on_an_edge_goes_to_the_closed_side(boundary, expected):
    mos = [0, 20, 20.5, 40, 40.5, 100]
    found = mos_to_levels(mos, Range.parse("explicit:0:100"), boundary)
    assert found.levels.tolist() == expected
    assert found.clipped == 0


@pytest.mark.parametrize("edge", [1.8, 2.6, 3.4, 4.2])
def test_a_decimal_edge_is_exact(edge):
    mos, scale = [edge, np.nextafter(edge, 9), np.nextafter(edge, 0)], Range.parse("explicit:1:5")
    level = round((edge - 1) / 0.8)
    right, left = (mos_to_levels(mos, scale, side).levels for side in ("right", "left"))
    assert right.tolist() == [level, level + 1, level]
    assert left.tolist() == [level + 1, level + 1, level]


def test_rows_outside_the_range_are_clipped_and_counted():
    found = mos_to_levels([-5, 0, 50, 100, 100.1, 300], Range.parse("explicit:0:100"))
    assert found.levels.tolist() == [1, 1, 3, 5, 5, 5]
    assert found.clipped == 3
    assert found.counts() == {"bad": 2, "poor": 0, "fair": 1, "good": 0, "excellent": 3}


def test_trimming_drops_the_share_at_each_end_before_the_ends_are_taken():
    found = mos_to_levels(np.arange(100.0), Range.parse("trimmed:0.05"))
    assert (found.low, found.high, found.clipped) == (5, 94, 10)


@pytest.mark.parametrize("mos", [[0.0, 5e-324], [100.0, np.nextafter(100.0, 101.0)]])
def test_a_range_too_narrow_for_five_levels_is_refused(mos):
    with pytest.raises(InputError, match=r"range dataset: .* is too narrow for five levels"):
        mos_to_levels(mos, Range.parse("dataset"))


@given(tables, st.sampled_from(["right", "left"]))
def test_levels_rise_with_mos_and_the_dataset_range_clips_nothing(mos, side):
    found = mos_to_levels(mos, Range.parse("dataset"), side)
    assert found.clipped == 0
    assert found.levels.min() == 1 and found.levels.max() == 5
    assert (np.diff(found.levels[np.argsort(mos)]) >= 0).all()


@given(st.lists(st.integers(0, 100), min_size=1, max_size=30), st.sampled_from(["right", "left"]))
def test_levels_of_dmos_are_those_of_the_mirrored_values(dmos, side):
    scale = Range.parse("explicit:0:100")
    mirrored = mos_to_levels([100 - value for value in dmos], scale, side).levels
    assert mos_to_levels(dmos, scale, side, lower_better=True).levels.tolist() == mirrored.tolist()


@given(st.integers(1, 5), st.floats(-50, 50), st.floats(0.5, 200))
def test_the_midpoint_of_a_level_has_that_level(level, low, width):
    scale = Range("explicit", low=low, high=low + width)
    assert mos_to_levels([low + (level - 0.5) / 5 * width], scale).levels[0] == level


def test_the_spaq_release_sets_the_top_aside_and_closes_the_left():
    found = mos_to_levels([2, 18.8, 56.4, 93.99, 94, 96], Range.parse("spaq-release"))
    assert found.levels.tolist() == [1, 2, 3, 5, 0, 0]
    assert (found.rejected, found.clipped, found.boundary) == (2, 0, "left")
    assert found.words()[-3:] == ["excellent", None, None]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("minmax", "dataset, trimmed"),
        ("trimmed", "trimmed:FRACTION"),
        ("trimmed:0.5", "below 0.5"),
        ("explicit:5:1", "LOW must be below HIGH"),
        ("explicit:a:b", "expected numbers, got 'a:b'"),
        ("explicit:0:inf", "finite"),
    ],
)
def test_an_unknown_range_is_refused_with_the_forms(text, words):
    with pytest.raises(ValueError, match=words):
        Range.parse(text)


@pytest.mark.parametrize(
    ("mos", "scale", "side", "words"),
    [
        ([1.0, float("nan"), 3.0], "dataset", None, "in 1 rows: row 2$"),
        ([2.0, 2.0], "dataset", None, "every MOS equal to 2"),
        ([], "dataset", None, "no rows"),
        ([50.0], "spaq-release", "right", "explicit:0:94"),
        ([50.0], "koniq-release", "left", "right-closed"),
        ([50.0, 60.0], "dataset", "both", "right for"),
    ],
)
def test_mos_that_cannot_be_converted_are_refused(mos, scale, side, words):
    with pytest.raises(ValueError, match=words):
        mos_to_levels(mos, Range.parse(scale), side)


def test_an_unknown_level_word_is_refused_by_row():
    with pytest.raises(ValueError, match="'great' in row 2"):
        level_numbers(["good", "great"])


def test_the_score_is_the_level_where_one_logit_wins_and_3_where_none_does():
    assert expected_score(1000 * np.eye(5)).tolist() == [1, 2, 3, 4, 5]
    assert expected_score(np.zeros(5)) == pytest.approx(3)


@given(logit_rows, st.integers(-512, 512))
def test_a_common_shift_of_half_precision_logits_changes_no_bit(logits, shift):
    half = np.float16(logits).astype(np.float64)
    assert expected_score(half) == expected_score(half + shift)
    assert level_probabilities(half).sum() == pytest.approx(1)
    assert 1 <= expected_score(half) <= 5


def test_other_level_words_bring_their_weights():
    assert expected_score([[0.0, 1000.0]], weights=[0, 1]).tolist() == [1]
    with pytest.raises(ValueError, match="5 level logits a row, but 2 weights"):
        expected_score(np.zeros((3, 5)), weights=[0, 1])
    with pytest.raises(ValueError, match="row 2"):
        expected_score([[0] * 5, [0, 0, float("nan"), 0, 0]])


@given(st.floats(-800, 800), st.floats(-800, 800), st.sampled_from([1.0, 100.0]))
def test_the_two_level_score_is_the_softmax_and_is_stable(good, poor, temperature):
    score = float(two_level_score(good, poor, temperature))
    assert 0 <= score <= 1
    assert score + float(two_level_score(poor, good, temperature)) == pytest.approx(1)
    if temperature == 100:
        expected = np.exp(good / 100) / (np.exp(good / 100) + np.exp(poor / 100))
        assert score == pytest.approx(expected)


def test_the_margin_ranks_where_the_two_level_score_has_saturated():
    good = np.array([50.0, 60.0, 70.0])
    assert np.ptp(two_level_score(good, 0.0)) == 0
    assert correlation.srcc([1, 2, 3], two_level_margin(good, 0.0)) == 1
    with pytest.raises(ValueError, match="positive"):
        two_level_score(1, 2, 0)


def test_the_released_koniq_levels_are_reproduced(shared_data):
    rows = pd.read_parquet(shared_data / "qsit_train_labels_koniq.parquet")
    released = level_numbers(rows.level.tolist())
    assert len(rows) == 7046
    assert (mos_to_levels(rows.mos, Range.parse("koniq-release")).levels != released).sum() == 0
    assert (mos_to_levels(rows.mos, Range.parse("dataset")).levels != released).sum() == 74
    assert correlation.srcc(rows.mos, released) == pytest.approx(0.9517, abs=5e-4)
    assert correlation.plcc(rows.mos, released) == pytest.approx(0.9606, abs=5e-4)


def test_the_released_spaq_levels_are_reproduced(shared_data):
    rows = pd.read_parquet(shared_data / "mos_koniq_spaq.parquet").query("dataset == 'spaq'")
    found = mos_to_levels(rows.mos, Range.parse("spaq-release"))
    labelled = rows.qsit_level.notna().to_numpy()
    released = level_numbers(rows.qsit_level[labelled].tolist())
    assert len(released) == 8897
    assert (found.levels[labelled] != released).sum() == 0
    assert correlation.srcc(rows.mos[labelled], released) == pytest.approx(0.9690, abs=5e-4)
    assert correlation.plcc(rows.mos[labelled], released) == pytest.approx(0.9681, abs=5e-4)


def test_equation_5_gives_the_scores_of_real_runs(shared_data):
    rows = pd.read_parquet(shared_data / "lmm_level_logits_sample.parquet")
    score = expected_score(rows[list(LEVELS)].to_numpy())
    assert np.abs(score - rows.pred_mos).max() < 0.03
