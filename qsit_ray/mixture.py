"""pure: the pools of a run, the ratios that are searched, and the plan of an epoch's rows.

A `Mixture` counts rows per pool. An `EpochPlan` is the global order of catalog rows for one epoch:
a function of (mixture, catalog sizes, epoch, seed) alone, so all machines, world sizes and restarts
compute the same plan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

DOMAINS = ("scoring", "interpreting", "general")
"""The paper's pools D1, D2 and D3, which a run has unless it names its own."""

# A micro-batch of a rank for which a global batch has no row holds this number instead.
PADDING = -1


@dataclass(frozen=True)
class Axis:
    """A searched ratio: the rows of the pools `over`, together, to those of `under`.

    `takes_all`: a mixture takes all rows of `under`. On the others it takes as many rows of both
    sides as there are.
    """

    name: str
    over: tuple[str, ...]
    under: str
    takes_all: bool


def axes_of(pools: Sequence[str]) -> tuple[Axis, ...]:
    """The ratios that determine a mix of these pools, in the order in which they are searched.

    The last two pools come first, then each pool before them against all that follow it: D2:D3 and
    (D2+D3):D1 of three pools (Algorithm 1), D3:D4, (D3+D4):D2 and (D2+D3+D4):D1 of four, D2:D1 of
    two. Raises ValueError for fewer than two pools.
    """
    if len(pools) < 2:
        raise ValueError(f"{len(pools)} pools; a mix needs two")
    *before, last = pools
    lead = last
    over: tuple[str, ...] = (last,)
    found = []
    if len(before) > 1:
        lead = before.pop()
        found.append(Axis(f"{lead}_{last}", (lead,), last, takes_all=False))
        over = (lead, last)
    for under in reversed(before):
        found.append(Axis(f"{lead}_{under}", over, under, takes_all=True))
        over = (under, *over)
    return tuple(found)


AXES = tuple(axis.name for axis in axes_of(DOMAINS))
"""The names of the paper's two axes."""


def short_names(pools: Iterable[str]) -> list[str]:
    """D1, D2 and so on, as the paper calls the pools."""
    return [f"D{number}" for number, _ in enumerate(pools, start=1)]


def half_up(value: float) -> int:
    """Nearest whole number of rows; a half goes up (Python's own round goes to even)."""
    return int(np.floor(value + 0.5))


class Mixture(dict[str, int]):
    """Rows of each pool in one epoch, in the pools' order (paper, Algorithm 1).

    Raises ValueError when a count is negative or all are zero.
    """

    def __init__(self, rows: Any) -> None:
        super().__init__(rows)
        for pool, count in self.items():
            if count < 0:
                raise ValueError(f"mixture: {pool} has {count} rows; expected 0 or more")
        if self.total == 0:
            raise ValueError("mixture: no rows in any pool")

    @classmethod
    def of(cls, *rows: int) -> Mixture:
        """Rows of D1, D2 and D3."""
        return cls(zip(DOMAINS, rows, strict=True))

    @property
    def total(self) -> int:
        return sum(self.values())

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Files have it as a mapping."""
        return core_schema.no_info_after_validator_function(cls, handler(dict[str, int]))


def ratios_at(pools: Sequence[str], optima: Mapping[str, float]) -> dict[str, float]:
    """Ratios of the pools with D1 = 1 from the searched ratios, by the names of their axes.

    With r_A = D2/D3 and r_B = (D2+D3)/D1 (Algorithm 1, steps 1 and 2), D2 = r_B·r_A/(1+r_A) and
    D3 = r_B/(1+r_A). Raises ValueError for a ratio that is not positive.
    """
    axes = axes_of(pools)
    for axis in axes:
        _positive(axis.name, optima[axis.name])
    found = {axes[-1].under: 1.0}
    whole = optima[axes[-1].name]
    for axis in reversed(axes[:-1]):
        ratio = optima[axis.name]
        found[axis.under] = whole / (1.0 + ratio)
        whole = whole * ratio / (1.0 + ratio)
    (left,) = axes[0].over
    found[left] = whole
    return {pool: found[pool] for pool in pools}


def from_ratios(ratios: Mapping[str, float], base: int) -> Mixture:
    """The mixture whose rows are `ratios` times `base`, halves rounded up."""
    return Mixture({pool: half_up(ratio * base) for pool, ratio in ratios.items()})


def mixture_on_axis(
    axis: Axis, ratio: float, sizes: Mapping[str, int], optima: Mapping[str, float]
) -> Mixture:
    """The mixture of one grid point of a catalog with these `sizes`.

    The first axis of three pools or more varies D2:D3 as the paper does (Algorithm 1, step 1): up
    to 1 all of D3 with ratio·|D3| rows of D2, above 1 all of D2 with |D2|/ratio rows of D3. Every
    other axis takes all rows of `under`, and ratio times as many of the pools `over` (step 2),
    divided by `optima`, those of the axes before.

    Raises ValueError for a ratio that is not positive, or where an optimum is missing.
    """
    _positive(f"{axis.name}: ratio", ratio)
    if axis.takes_all:
        pools = (axis.under, *axis.over)
        needed = [each.name for each in axes_of(pools)[:-1]]
        if missing := [name for name in needed if name not in optima]:
            raise ValueError(f"{axis.name}: needs the optimum of {missing[0]} first")
        known = {name: optima[name] for name in needed}
        rows = from_ratios(ratios_at(pools, {**known, axis.name: ratio}), sizes[axis.under])
    else:
        (over,), under = axis.over, axis.under
        if ratio <= 1.0:
            rows = Mixture({over: half_up(ratio * sizes[under]), under: sizes[under]})
        else:
            rows = Mixture({over: sizes[over], under: half_up(sizes[over] / ratio)})
    return Mixture({pool: rows.get(pool, 0) for pool in sizes})


@dataclass(frozen=True)
class EpochPlan:
    """Catalog rows of one epoch in global order.

    `rows` is int64 of shape [total]; global batch k is rows[k·B:(k+1)·B] with B `global_batch` for
    every world size. The last one may have fewer rows.
    """

    epoch: int
    global_batch: int
    rows: NDArray[np.int64]

    @property
    def steps(self) -> int:
        return -(-len(self.rows) // self.global_batch)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the row numbers, little-endian int64, in global order."""
        return hashlib.sha256(self.rows.astype("<i8").tobytes()).hexdigest()

    @cached_property
    def planned(self) -> int:
        """Checksum of (global step, row) over all rows; the ranks' own checksums add up to it."""
        steps = np.arange(len(self.rows), dtype=np.int64) // self.global_batch
        return checksum(steps, self.rows)

    def step_rows(self, step: int) -> NDArray[np.int64]:
        """Rows of global batch `step`, in their order."""
        return self.rows[step * self.global_batch : (step + 1) * self.global_batch]


def plan_epoch(
    mixture: Mixture,
    sizes: Mapping[str, int],
    epoch: int,
    seed: int,
    global_batch: int,
    used: Mapping[str, int] = MappingProxyType({}),
) -> EpochPlan:
    """The epoch's catalog rows in their global order.

    The catalog numbers its rows pool after pool in the order of `sizes`. A pool's rows are taken
    from seeded permutations, one for each pass over the pool and keyed by (seed, pool, pass) but
    not by epoch: n rows are whole passes and a prefix of the next. So counts are exact, uses of two
    rows differ by at most one, and a larger mixture contains a smaller one. `used` rows of each
    pool, those of earlier epochs, are passed over first; by default none are, and every epoch of
    one mixture has the same rows. With them, uses differ by at most one over all epochs together,
    and an epoch that ends a pass may have some rows of the next one twice.

    Raises ValueError when the mixture takes rows of an empty pool.
    """
    rows = np.empty(mixture.total, np.int64)
    offset = filled = 0
    for key, (pool, size) in enumerate(sizes.items()):
        count, first = mixture[pool], used.get(pool, 0)
        if count and not size:
            raise ValueError(f"pool {pool} is empty, but the mixture takes {count} rows of it")
        for number in range(first // max(size, 1), -(-(first + count) // max(size, 1))):
            # 32 bits where they suffice: a pass over a large pool is the most memory of a plan.
            one_pass = np.arange(size, dtype=np.int32 if size <= 2**31 else np.int64)
            _generator(seed, key, number).shuffle(one_pass)
            before = number * size
            taken = one_pass[max(first - before, 0) : first + count - before]
            np.add(taken, offset, out=rows[filled : filled + len(taken)], dtype=np.int64)
            filled += len(taken)
        offset += size
    # The order has a random stream of its own, after those of the pools.
    _generator(seed, len(sizes), epoch).shuffle(rows)
    return EpochPlan(epoch, global_batch, rows)


def splitmix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The splitmix64 finaliser: a well-mixed 64-bit hash of each value."""
    with np.errstate(over="ignore"):
        z = values + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def checksum(steps: NDArray[np.int64], rows: NDArray[np.int64]) -> int:
    """Sum modulo 2^64 of a hash of each (global step, row); the order does not matter."""
    with np.errstate(over="ignore"):
        mixed = splitmix64(splitmix64(steps.astype(np.uint64)) + rows.astype(np.uint64))
        return int(np.sum(mixed, dtype=np.uint64))


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def _positive(name: str, value: float) -> None:
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}; expected a number above 0")
