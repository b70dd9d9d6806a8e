"""pure: the rows of each domain in an epoch, and the plan of their order.

A `Mixture` counts rows per domain. An `EpochPlan` is the global order of catalog rows for one
epoch: a function of (mixture, catalog sizes, epoch, seed) alone, so all machines, world sizes and
restarts compute the same plan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Axis = Literal["interpreting_general", "interpreting_scoring"]
DOMAINS = ("scoring", "interpreting", "general")
AXES: tuple[Axis, ...] = ("interpreting_general", "interpreting_scoring")

# A micro-batch of a rank for which a global batch has no row holds this number instead.
PADDING = -1

_ORDER_KEY = len(DOMAINS)  # the random stream of the order; each domain has one of its own


def half_up(value: float) -> int:
    """Nearest whole number of rows; a half goes up (Python's own round goes to even)."""
    return int(np.floor(value + 0.5))


@dataclass(frozen=True)
class Mixture:
    """Rows of each domain in one epoch (paper, Algorithm 1).

    Raises ValueError when a count is negative or all three are zero.
    """

    scoring: int
    interpreting: int
    general: int

    def __post_init__(self) -> None:
        for domain, count in self.counts().items():
            if count < 0:
                raise ValueError(f"mixture: {domain} has {count} rows; expected 0 or more")
        if self.total == 0:
            raise ValueError("mixture: no rows in any domain")

    @property
    def total(self) -> int:
        return self.scoring + self.interpreting + self.general

    def counts(self) -> dict[str, int]:
        """Rows by domain."""
        return asdict(self)


def ratios_at(ratio_general: float, ratio_scoring: float) -> dict[str, float]:
    """Domain ratios with D1 = 1 from the two searched ratios.

    `ratio_general` is r_A = D2/D3 and `ratio_scoring` is r_B = (D2+D3)/D1 (Algorithm 1, steps
    1 and 2), so D2 = r_B·r_A/(1+r_A) and D3 = r_B/(1+r_A).
    """
    _positive("ratio D2:D3", ratio_general)
    _positive("ratio (D2+D3):D1", ratio_scoring)
    return {
        "scoring": 1.0,
        "interpreting": ratio_scoring * ratio_general / (1.0 + ratio_general),
        "general": ratio_scoring / (1.0 + ratio_general),
    }


def from_ratios(ratios: Mapping[str, float], base: int) -> Mixture:
    """The mixture whose rows are `ratios` times `base`, halves rounded up."""
    return Mixture(**{domain: half_up(ratios[domain] * base) for domain in DOMAINS})


def mixture_on_axis(
    axis: Axis, ratio: float, sizes: Mapping[str, int], ratio_general: float | None = None
) -> Mixture:
    """The mixture of one grid point.

    Axis `interpreting_general` (Algorithm 1, step 1) varies D2:D3 as the paper does: up to 1 all
    of D3 with ratio·|D3| rows of D2, above 1 all of D2 with |D2|/ratio rows of D3. Axis
    `interpreting_scoring` (step 2) takes all of D1 and a D2+D3 blend of ratio·|D1| rows, divided
    by `ratio_general`, the optimum of the first axis.

    Raises ValueError for a ratio that is not positive, or for the second axis without
    `ratio_general`.
    """
    _positive(f"{axis}: ratio", ratio)
    if axis == "interpreting_general":
        if ratio <= 1.0:
            return Mixture(0, half_up(ratio * sizes["general"]), sizes["general"])
        return Mixture(0, sizes["interpreting"], half_up(sizes["interpreting"] / ratio))
    if ratio_general is None:
        raise ValueError(f"{axis}: needs the optimum of interpreting_general first")
    return from_ratios(ratios_at(ratio_general, ratio), sizes["scoring"])


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

    The catalog numbers its rows domain after domain in the order of `DOMAINS`. A domain's rows
    are taken from seeded permutations, one for each pass over the domain and keyed by (seed,
    domain, pass) but not by epoch: n rows are whole passes and a prefix of the next. So counts are
    exact, uses of two rows differ by at most one, and a larger mixture contains a smaller one.
    `used` rows of each domain, those of earlier epochs, are passed over first; by default none are,
    and every epoch of one mixture has the same rows. With them, uses differ by at most one over all
    epochs together, and an epoch that ends a pass may have some rows of the next one twice.

    Raises ValueError when the mixture takes rows of an empty domain.
    """
    rows = np.empty(mixture.total, np.int64)
    offset = filled = 0
    for key, domain in enumerate(DOMAINS):
        size, count = sizes[domain], mixture.counts()[domain]
        if count and not size:
            raise ValueError(f"domain {domain} is empty, but the mixture takes {count} rows of it")
        first = used.get(domain, 0)
        for number in range(first // max(size, 1), -(-(first + count) // max(size, 1))):
            # 32 bits where they suffice: a pass over a large domain is the most memory of a plan.
            one_pass = np.arange(size, dtype=np.int32 if size <= 2**31 else np.int64)
            _generator(seed, key, number).shuffle(one_pass)
            before = number * size
            taken = one_pass[max(first - before, 0) : first + count - before]
            np.add(taken, offset, out=rows[filled : filled + len(taken)], dtype=np.int64)
            filled += len(taken)
        offset += size
    _generator(seed, _ORDER_KEY, epoch).shuffle(rows)
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
