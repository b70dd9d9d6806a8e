"""Every item is in one batch, no batch is over its tokens, and every rank has as many."""

from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.models.budget import batches

LENGTHS = st.lists(st.integers(1, 9_000), max_size=300)


@given(LENGTHS, st.integers(1, 40_000), st.integers(1, 8))
def test_batches_hold_every_item_once_within_the_tokens(lengths, tokens, ranks):
    found = batches(lengths, tokens, ranks)
    held = [item for batch in found for share in batch for item in share]
    assert sorted(held) == list(range(len(lengths)))
    previous = max(lengths, default=0)
    for batch in found:
        assert len(batch) == ranks
        sizes = [len(share) for share in batch]
        longest = max(lengths[item] for item in batch[0])
        assert sizes == sorted(sizes, reverse=True) and sizes[0] - sizes[-1] <= 1 and sizes[0]
        assert sizes[0] * longest <= tokens or sizes[0] == 1
        assert longest == max(lengths[item] for share in batch for item in share) <= previous
        previous = longest


@given(LENGTHS, st.integers(1, 40_000))
def test_one_item_more_would_be_over_the_tokens(lengths, tokens):
    for (share,), (after,) in zip(*(batches(lengths, tokens)[i:] for i in (0, 1)), strict=False):
        assert (len(share) + 1) * lengths[share[0]] > tokens
        assert lengths[after[0]] <= lengths[share[-1]]


def test_items_of_one_length_keep_their_order():
    assert batches([5, 5, 5, 5], 10) == [[[0, 1]], [[2, 3]]]
