"""pure: the rows of a global batch divided into micro-batches of like length and equal work.

At each accumulation step all ranks compute one micro-batch and wait for the slowest, at ZeRO-3 in
every layer. So a step costs the work of its most expensive micro-batch times the ranks, and a row
costs as many tokens as the longest of its micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qsit_ray.mixture import PADDING

Integers = NDArray[np.int64]
MicroBatches = list[list[Integers]]
"""Catalog rows by [accumulation step][rank]; `PADDING` alone is a micro-batch without a row."""

# Work is counted in tokens of the 7B's decoder layers: 2 x 6.53e9 FLOPs each. Other models' shares
# differ, and with them the balance among ranks, but never the rows of a global batch.
ATTENTION = 65_000  # tokens of a row at which causal attention costs as much as the layers' weights
TILE = 51  # a tile through tower and projector: 6.7e11 FLOPs
PASS = 300  # one more micro-batch: its kernels' starts, and gathering the weights at ZeRO-3

_NEVER = 2**60


@dataclass(frozen=True)
class Bounds:
    """Most `rows` and most padded `tokens` (rows times the longest) of a micro-batch; None: any
    number of tokens. A row longer than `tokens` is alone."""

    rows: int
    tokens: int | None = None


def work(rows: Integers, longest: Integers, tiles: Integers) -> Integers:
    """The work of a micro-batch of `rows` rows padded to `longest` tokens, with `tiles` tiles in
    all, which are not padded. Elementwise."""
    return rows * longest * (ATTENTION + longest) // ATTENTION + TILE * tiles


def micro_batches(
    rows: Integers, tokens: Integers, tiles: Integers, ranks: int, bounds: Bounds
) -> MicroBatches:
    """Divide the `rows` of one global batch, in their order, among `ranks` ranks.

    `tokens` and `tiles`: of every catalog row. Each rank has the same number of micro-batches. Of
    all divisions of the rows, sorted by tokens, into runs within `bounds` this one has the least
    sum over accumulation steps of the slowest rank's work. `PADDING` appears only where the rows
    can't fill a multiple of `ranks` micro-batches.
    """
    order = np.argsort(-tokens[rows], kind="stable")
    costs = _costs(tokens[rows[order]], tiles[rows[order]], bounds)
    steps = _steps(costs, ranks)
    if steps is None:
        np.fill_diagonal(costs, 0)  # micro-batches without a row
        steps = _steps(costs, ranks)
    assert steps is not None  # each row alone is a division
    return [
        [
            rows[np.sort(order[start:end])] if end > start else np.array([PADDING])
            for start, end in runs
        ]
        for runs in steps
    ]


def _costs(tokens: Integers, tiles: Integers, bounds: Bounds) -> Integers:
    """Work of the micro-batch of rows i to j - 1 at [i, j]; `_NEVER` where it isn't allowed."""
    ends = np.arange(len(tokens) + 1)
    rows = ends[None, :] - ends[:, None]
    longest = np.append(tokens, 0)[:, None]
    seen = np.concatenate([[0], np.cumsum(tiles)])
    allowed = (rows >= 1) & (rows <= bounds.rows)
    if bounds.tokens is not None:
        allowed &= (rows == 1) | (rows * longest <= bounds.tokens)
    return np.where(allowed, work(rows, longest, seen[None, :] - seen[:, None]), _NEVER)


def _steps(costs: Integers, ranks: int) -> list[list[tuple[int, int]]] | None:
    """The cheapest sequence of accumulation steps, each of one run of rows a rank; None where there
    is none."""
    slowest = _power(costs, ranks)
    end = len(costs) - 1
    least = np.full(end + 1, _NEVER)  # of the rows from i on
    least[end] = 0
    following = np.zeros(end + 1, np.int64)
    for start in range(end - 1, -1, -1):
        # A step without a row would never end.
        sums = np.minimum(slowest[start, start + 1 :] + PASS + least[start + 1 :], _NEVER)
        following[start] = start + 1 + np.argmin(sums)
        least[start] = sums.min()
    if least[0] >= _NEVER:
        return None
    steps, start = [], 0
    while start < end:
        until = int(following[start])
        steps.append(_runs(costs, start, until, ranks, slowest[start, until]))
        start = until
    return steps


def _power(costs: Integers, ranks: int) -> Integers:
    """At [i, j] the least possible work of the slowest of `ranks` runs that rows i to j - 1 are cut
    into: the matrix product over (min, max) instead of (sum, times), `ranks` times."""
    if ranks == 1:
        return costs
    half = _power(costs, ranks // 2)
    squared = _product(half, half)
    return _product(squared, costs) if ranks % 2 else squared


def _product(first: Integers, second: Integers) -> Integers:
    out = np.full_like(first, _NEVER)
    for cut in range(len(first)):
        both = np.maximum(first[: cut + 1, cut, None], second[cut, None, cut:])
        np.minimum(out[: cut + 1, cut:], both, out=out[: cut + 1, cut:])
    return out


def _runs(costs: Integers, start: int, end: int, ranks: int, most: int) -> list[tuple[int, int]]:
    """Cut rows `start` to `end` into `ranks` runs of at most the work `most`."""
    runs = []
    while start < end:
        until = start + int(np.count_nonzero(costs[start, start + 1 : end + 1] <= most))
        runs.append((start, until))
        start = until
    while len(runs) < ranks:
        at = max(range(len(runs)), key=lambda i: (runs[i][1] - runs[i][0] > 1, costs[runs[i]]))
        first, last = runs[at]
        middle = (first + last + 1) // 2
        runs[at : at + 1] = [(first, middle), (middle, last)]
    return runs
