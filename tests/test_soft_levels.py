"""Opinions as distributions over the levels: their mean is the MOS, and no share is negative."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray import soft_levels
from qsit_ray.levels import LEVEL_WEIGHTS
from qsit_ray.soft_levels import NUMBERS, checked, from_opinion, on_levels, spread


@settings(deadline=None)
@given(st.floats(0, 100), st.floats(0, 60))
def test_the_mean_is_the_mos_on_the_levels_scale(mos, std):
    shares = from_opinion(mos, std, 0, 100)
    assert shares.shape == (5,)
    assert (shares >= 0).all()
    assert shares.sum() == pytest.approx(1)
    assert shares @ NUMBERS == pytest.approx(on_levels(mos, 0, 100), abs=1e-6)


@settings(deadline=None)
@given(st.floats(0, 100), st.floats(0.5, 60))
def test_a_mirrored_scale_mirrors_the_shares(mos, std):
    mirrored = from_opinion(100 - mos, std, 0, 100)[::-1]
    assert from_opinion(mos, std, 0, 100) == pytest.approx(mirrored, abs=1e-6)


def test_an_end_of_the_scale_is_one_level_and_no_deviation_the_two_nearest():
    assert from_opinion(0, 10, 0, 100).tolist() == [1, 0, 0, 0, 0]
    assert from_opinion(100, 10, 0, 100).tolist() == [0, 0, 0, 0, 1]
    assert from_opinion(50, 0, 0, 100) == pytest.approx([0, 0, 1, 0, 0], abs=1e-9)
    assert from_opinion(60, 0, 0, 100) == pytest.approx([0, 0, 0.6, 0.4, 0], abs=1e-6)


def test_a_wide_opinion_is_wider():
    wide = [float(spread(from_opinion(55, std, 0, 100))) for std in (5, 10, 15, 20, 25)]
    assert wide == sorted(wide)


def test_the_real_opinions_of_koniq_keep_mean_and_nearly_deviation(shared_data):
    import pyarrow.parquet as pq

    table = pq.read_table(shared_data / "mos_koniq_spaq.parquet").to_pandas()
    koniq = table[table.dataset == "koniq"].iloc[::20]
    votes = koniq[["c1", "c2", "c3", "c4", "c5"]].to_numpy(float)
    votes = votes / votes.sum(axis=1, keepdims=True)
    made = np.array(
        [from_opinion(m, s, 1, 5) for m, s in zip(koniq.mos_1to5, koniq["std"], strict=True)]
    )
    assert made @ NUMBERS == pytest.approx(koniq.mos_1to5.to_numpy(), abs=1e-6)
    # Votes are whole levels; the Gaussian's mass is nearer to them than one level is.
    rounded = np.rint(koniq.mos_1to5.to_numpy()).astype(int)
    alone = np.eye(5)[rounded - 1]
    off = np.abs(np.cumsum(made - votes, axis=1)).sum(axis=1).mean()
    assert off < 0.1 < np.abs(np.cumsum(alone - votes, axis=1)).sum(axis=1).mean()


def test_spread_is_the_deviation_in_levels():
    assert spread([[0.5, 0, 0, 0, 0.5], [0, 0, 1, 0, 0]]).tolist() == [2.0, 0.0]
    assert soft_levels.NUMBERS.tolist() == list(LEVEL_WEIGHTS)


@pytest.mark.parametrize(
    "shares",
    [None, "1", [1, 0, 0, 0], [0.5, 0.4, 0, 0, 0], [1.5, -0.5, 0, 0, 0], [float("nan"), 1, 0, 0, 0],
     [10**400, 0, 0, 0, 0], [True, 0, 0, 0, 0], [[1], 0, 0, 0, 0], {"a": 1}],
)  # fmt: skip
def test_what_is_no_distribution_is_refused(shares):
    with pytest.raises(ValueError, match="level_probs"):
        checked(shares)


def test_shares_that_were_rounded_add_up_again():
    assert sum(checked([0.333, 0.333, 0.3335, 0, 0])) == pytest.approx(1, abs=1e-12)
