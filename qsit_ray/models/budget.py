"""pure: items in batches of at most a number of tokens, padding included, encoded ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from qsit_ray.ahead import ahead

Item = TypeVar("Item")
Result = TypeVar("Result")


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


def encoded(
    items: Sequence[Item],
    lengths: Sequence[int],
    encode: Callable[[Item], Result],
    tokens: int,
    threads: int,
) -> Iterator[tuple[list[int], list[Result]]]:
    """The items' indices by batch, as `batches` divides them, with the items encoded; `threads`
    encode the next batch meanwhile."""
    parts = [part for (part,) in batches(lengths, tokens)]
    steps = ([items[index] for index in part] for part in parts)
    yield from zip(parts, ahead(steps, encode, threads), strict=True)
