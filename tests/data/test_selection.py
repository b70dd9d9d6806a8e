"""Selections are exact in number, seeded, and as even as the images allow."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.data.selection import BINS, select
from qsit_ray.errors import InputError


def test_koniq_is_selected_as_the_papers_table_iii(shared_data):
    known = pd.read_parquet(shared_data / "mos_koniq_spaq.parquet")
    mos = known[known.dataset == "koniq"].mos.to_numpy()
    found = select(mos, 5182, 0)
    assert len(set(found.rows.tolist())) == 5182
    assert found.mean == pytest.approx(49.5, abs=0.5)
    assert found.sd >= 15.72
    assert found.limits


def test_spaq_has_little_choice(shared_data):
    known = pd.read_parquet(shared_data / "mos_koniq_spaq.parquet")
    mos = known[known.dataset == "spaq"].mos.to_numpy()
    found = select(mos, 10_797, 0)
    assert found.mean == pytest.approx(49.46, abs=0.5)
    assert len(found.limits) > BINS / 2


def test_plenty_of_images_give_even_parts():
    mos = np.random.default_rng(0).normal(50, 15, 100_000).clip(0, 100)
    found = select(mos, 2000, 0)
    assert max(found.taken) - min(found.taken) <= 0.1 * max(found.taken)


@given(
    st.lists(st.floats(0, 100), min_size=2, max_size=200),
    st.floats(0, 1),
    st.integers(0, 3),
    st.none() | st.floats(-50, 150),
)
def test_a_selection_is_exact_and_seeded(mos, share, seed, mean):
    count = max(1, round(share * len(mos)))
    if min(mos) == max(mos):
        with pytest.raises(InputError):
            select(mos, count, seed, mean)
        return
    found = select(mos, count, seed, mean)
    assert len(set(found.rows.tolist())) == count
    assert found.rows.tolist() == select(mos, count, seed, mean).rows.tolist()
    assert all(taken <= there for taken, there in zip(found.taken, found.bins, strict=True))


@pytest.mark.parametrize("count", [0, -1, 4])
def test_a_number_of_images_that_are_not_there_is_refused(count):
    with pytest.raises(InputError, match="1 to 3"):
        select([1, 2, 3], count, 0)
