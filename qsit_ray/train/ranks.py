"""torch: values exchanged between the ranks of a training."""

from __future__ import annotations

from typing import TypeVar

import torch.distributed as dist

T = TypeVar("T")


def from_rank_zero(value: T | None) -> T:
    """Rank 0's `value` on every rank; the others' is ignored. No rank returns before rank 0 calls
    it, so this is a barrier too."""
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]  # type: ignore[return-value]


def gather(value: T) -> list[T]:
    """Each rank's value, by rank, on every rank."""
    values: list[T] = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
