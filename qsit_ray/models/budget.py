"""pure: items in batches of at most a number of tokens, padding included."""

from __future__ import annotations

from collections.abc import Sequence


def batches(lengths: Sequence[int], tokens: int, ranks: int = 1) -> list[list[list[int]]]:
    """The items' indices by batch and rank, each rank's from the longest to the shortest.

    A rank's items times the longest of the batch are at most `tokens`; a longer item is alone.
    Every rank has the same number of batches; where items are few, some ranks' lists are empty.
    The longest items come first, so that what does not fit into memory fails at once.
    """
    order = sorted(range(len(lengths)), key=lambda item: -lengths[item])
    found, start = [], 0
    while start < len(order):
        size = max(1, tokens // max(1, lengths[order[start]]))
        part = order[start : start + size * ranks]
        found.append([part[rank::ranks] for rank in range(ranks)])
        start += size * ranks
    return found
