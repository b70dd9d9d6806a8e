"""Micro-batches keep their bounds, hold each row once, and cost the least that runs of rows can."""

from functools import cache
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.data.micro_batches import PASS, Bounds, micro_batches, work
from qsit_ray.mixture import PADDING

# Tokens and tiles of SPAQ's, KonIQ's and COCO's images, of a blank one, and of a long conversation.
KINDS = np.array([(7_370, 31), (4_780, 7), (3_200, 5), (800, 1), (20_000, 5)])


@st.composite
def batches(draw, most=40):
    drawn = draw(st.lists(st.integers(0, len(KINDS) - 1), min_size=1, max_size=most))
    more = draw(st.lists(st.integers(0, 300), min_size=len(drawn), max_size=len(drawn)))
    tokens, tiles = KINDS[drawn].T
    rows = draw(st.permutations(range(len(drawn))))
    return np.array(rows), tokens + np.array(more), tiles


bounds = st.builds(
    Bounds, st.integers(1, 9), st.one_of(st.none(), st.sampled_from([900, 8_192, 16_384, 32_768]))
)


def within(rows, tokens, bound):
    padded = len(rows) * tokens[rows].max()
    return len(rows) <= bound.rows and (
        len(rows) == 1 or bound.tokens is None or padded <= bound.tokens
    )


def cost(divided, tokens, tiles):
    """Work of the slowest ranks, and of the micro-batches themselves."""
    works = [
        [0 if r[0] == PADDING else int(work(len(r), tokens[r].max(), tiles[r].sum())) for r in step]
        for step in divided
    ]
    return sum(max(step) + PASS for step in works)


def fewest(rows, tokens, bound):
    """The least number of micro-batches within the bounds."""
    count, group = 0, []
    for row in rows[np.argsort(-tokens[rows], kind="stable")]:
        if not group or not within(np.array([*group, row]), tokens, bound):
            count, group = count + 1, []
        group.append(row)
    return count


@given(batches(), st.integers(1, 9), bounds)
def test_each_row_once_within_bounds_and_as_many_micro_batches_on_each_rank(batch, ranks, bound):
    rows, tokens, tiles = batch
    divided = micro_batches(rows, tokens, tiles, ranks, bound)
    assert {len(step) for step in divided} == {ranks}
    flat = [micro for step in divided for micro in step]
    held = np.concatenate(flat)
    assert sorted(held[held != PADDING]) == sorted(rows)
    place = {row: position for position, row in enumerate(rows)}
    for micro in flat:
        if PADDING in micro:
            assert len(micro) == 1
        else:
            assert within(micro, tokens, bound)
            assert [place[row] for row in micro] == sorted(place[row] for row in micro)
    # A micro-batch without a row only where the rows can't fill a multiple of the ranks.
    least = fewest(rows, tokens, bound)
    fillable = len(rows) // ranks * ranks >= least
    assert (PADDING in held) != fillable
    again = micro_batches(rows, tokens, tiles, ranks, bound)
    assert [[r.tolist() for r in step] for step in again] == [
        [r.tolist() for r in step] for step in divided
    ]


@given(batches(most=9), st.integers(1, 3), bounds)
def test_no_other_cut_of_the_sorted_rows_costs_less(batch, ranks, bound):
    rows, tokens, tiles = batch
    ordered = rows[np.argsort(-tokens[rows], kind="stable")]
    end = len(ordered)

    def steps(start):
        """All next accumulation steps: cuts of a run of rows into one micro-batch a rank."""
        for cuts in combinations(range(start + 1, end + 1), ranks):
            step = np.split(ordered[start : cuts[-1]], np.array(cuts[:-1], int) - start)
            if all(within(micro, tokens, bound) for micro in step):
                yield cuts[-1], step

    @cache
    def least(start):
        if start == end:
            return 0
        costs = [cost([step], tokens, tiles) + least(until) for until, step in steps(start)]
        return min(costs, default=10**12)

    divided = micro_batches(rows, tokens, tiles, ranks, bound)
    if least(0) < 10**12:
        assert cost(divided, tokens, tiles) == least(0)


def test_ranks_have_unlike_numbers_of_rows_and_like_work():
    """Two of SPAQ's images are as much as three of KonIQ's or five of COCO's."""
    tokens = np.array([7_370] * 2 + [4_900] * 3 + [2_940] * 5)
    tiles = np.array([31] * 2 + [7] * 3 + [5] * 5)
    divided = micro_batches(np.arange(10), tokens, tiles, 3, Bounds(8, 16_384))
    assert [[len(rows) for rows in step] for step in divided] == [[2, 3, 5]]


@pytest.mark.parametrize("ranks", [1, 64])
def test_a_large_global_batch_is_divided(ranks):
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 4, 512)
    tokens, tiles = KINDS[drawn].T
    divided = micro_batches(np.arange(512), tokens, tiles, ranks, Bounds(8, 16_384))
    assert sorted(np.concatenate([r for step in divided for r in step])) == list(range(512))
