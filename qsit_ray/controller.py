"""pure: the controller that keeps the primary's loss ratio at the proxy's (paper, Eq. 8-10)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Literal

import numpy as np

from qsit_ray.config.train import Controller
from qsit_ray.losses import Losses, flat, ratio
from qsit_ray.mixture import Mixture, half_up

Verdict = str
"""`hold`, or `grow_<task>` of the task that lags behind."""
Side = Literal["first", "blend"]
"""D1, or the other pools together."""
Limit = Literal["max_growth", "max_repeats"]
HOLD = "hold"


@dataclass(frozen=True)
class Reference:
    """The loss ratio, L_S / L_I, of the final proxies after `epochs` of their mixture, of their
    mean losses, and its standard error over them, None for one."""

    epochs: float
    loss_ratio: float
    error: float | None = None


@dataclass(frozen=True)
class Decision:
    """One epoch's losses, the verdict on them, and the sizes of the next epoch.

    `limit`: the rule that kept the lagging side from growing by its full step.
    `reference_loss_ratio`: λ, to which the loss ratio was compared, and `tolerance`, the relative
    band around it.
    """

    epoch: int
    sizes: Mixture
    losses: Losses
    loss_ratio: float
    verdict: Verdict
    next_sizes: Mixture
    limit: Limit | None = None
    reference_loss_ratio: float | None = None
    tolerance: float | None = None

    def to_json(self) -> dict[str, object]:
        return flat(asdict(self))


@dataclass
class MixtureController:
    """Decides each epoch's Mixture from the losses of the epoch before.

    `references` are λ = L_S/L_I of the proxy at the chosen mix (Eq. 8), by the epochs after which
    they hold; `first` is the mixture of epoch 0; without λ or a `rule` every epoch holds it.
    `catalog` is the number of rows of each pool; without it no pool is ever exhausted.
    `decisions` are those of the epochs observed so far, and all that a later answer depends on.
    Epochs are observed in order; observing the last one again gives the same answer, so a restarted
    epoch is harmless.
    """

    first: Mixture
    references: Sequence[Reference] = ()
    rule: Controller | None = field(default_factory=Controller)
    catalog: Mapping[str, int] | None = None
    decisions: list[Decision] = field(default_factory=list)

    def mixture(self, epoch: int) -> Mixture:
        """The mixture of `epoch`; known once the epoch before has been observed."""
        if epoch > len(self.decisions):
            raise ValueError(
                f"epoch {epoch} is not decided yet: {len(self.decisions)} epochs observed"
            )
        return self.decisions[epoch - 1].next_sizes if epoch else self.first

    def observe(self, epoch: int, losses: Losses) -> Decision:
        """Compare L_S/L_I with λ and fix the next epoch's sizes (Eq. 9-10).

        Below λ the first task, scoring, is ahead and the blend of D2 and D3 grows with D2:D3 kept;
        above λ D1 grows. Losses are mean negative log-likelihoods in nats over answer tokens of
        validation rows, the first task's first.

        Raises ValueError for a loss that is not a positive finite number, or an epoch out of turn.
        """
        for name, loss in losses.items():
            if not (math.isfinite(loss) and loss > 0):
                raise ValueError(
                    f"epoch {epoch}: the loss of {name} is {loss}; expected a number above 0"
                )
        sizes = self.mixture(epoch)
        found = ratio(losses)
        reference, rule = self.reference(epoch), self.rule
        verdict: Verdict = HOLD
        next_sizes, limit, tolerance = sizes, None, None
        if reference is not None and rule is not None:
            # No distinction finer than the error of λ itself.
            tolerance = max(rule.tolerance, (reference.error or 0.0) / reference.loss_ratio)
            grows, factor = _judge(rule, tolerance, found / reference.loss_ratio)
            if grows is not None:
                first, second = losses
                verdict = f"grow_{first if grows == 'first' else second}"
                next_sizes, limit = self._next(rule, sizes, grows, factor)
        decision = Decision(
            epoch,
            sizes,
            dict(losses),
            found,
            verdict,
            next_sizes,
            limit,
            reference.loss_ratio if reference else None,
            tolerance,
        )
        self.decisions[epoch:] = [decision]
        return decision

    def reference(self, epoch: int) -> Reference | None:
        """λ after `epoch`."""
        return reference_after(self.references, epoch)

    def _next(
        self, rule: Controller, sizes: Mixture, grows: Side, factor: float
    ) -> tuple[Mixture, Limit | None]:
        other: Side = "blend" if grows == "first" else "first"
        wanted = half_up(_rows(sizes, grows) * factor)
        limits = self._limits(rule, grows)
        limit = min(limits, key=lambda name: limits[name])
        # A side that was beyond its limit from the start keeps its size.
        grown = {grows: max(_rows(sizes, grows), min(wanted, limits[limit]))}
        if rule.shrink:
            now = _rows(sizes, other)
            floor = math.ceil(_rows(self.first, other) * rule.min_growth)
            grown[other] = min(now, max(half_up(now / factor), floor))
        return self._sized(sizes, grown), limit if wanted > limits[limit] else None

    def _limits(self, rule: Controller, side: Side) -> dict[Limit, int]:
        """The largest number of rows of a side under each rule."""
        first, counts = _rows(self.first, side), self.first
        limits: dict[Limit, int] = {"max_growth": int(first * rule.max_growth)}
        if self.catalog is not None:
            repeats = rule.max_repeats if rule.exhausted == "repeat" else 1
            pools = [pool for pool in _pools(counts, side) if counts[pool]]
            # The pool of the side that runs out first, since D2:D3 is kept.
            limits["max_repeats"] = min(
                (self.catalog[p] * repeats * first // counts[p] for p in pools), default=0
            )
        return limits

    def _sized(self, sizes: Mixture, rows: Mapping[Side, int]) -> Mixture:
        """`sizes` with the rows of one or both sides."""
        (first,), blended = _pools(sizes, "first"), _pools(sizes, "blend")
        found = {**sizes, first: rows.get("first", sizes[first])}
        whole = _rows(self.first, "blend")
        if "blend" in rows and whole:
            # Shares of the first mixture, not of the last: rounding errors would add up in D2:D3.
            shares = accumulate(self.first[pool] for pool in blended)
            ends = [half_up(rows["blend"] * share / whole) for share in shares]
            found |= {
                pool: end - start
                for pool, start, end in zip(blended, [0, *ends[:-1]], ends, strict=True)
            }
        return Mixture(found)


def reference_after(references: Sequence[Reference], epoch: int) -> Reference | None:
    """λ after `epoch`: between two references by their distance, beyond the last the last; None
    without references."""
    if not references:
        return None
    known = [(each.epochs, each.loss_ratio, each.error or 0.0) for each in references]
    epochs, ratios, errors = zip(*known, strict=True)
    at = epoch + 1
    ratio, error = (float(np.interp(at, epochs, values)) for values in (ratios, errors))
    return Reference(at, ratio, error)


def _judge(rule: Controller, tolerance: float, deviation: float) -> tuple[Side | None, float]:
    """The side that lags at a loss ratio over λ, if any, and the factor by which it is to grow."""
    if abs(deviation - 1) <= tolerance:
        return None, 1.0
    factor = 1 + rule.step
    if rule.step_rule == "proportional":
        # In logarithms, since half of λ and twice λ are equally far from it.
        factor = min(math.exp(rule.gain * abs(math.log(deviation))), 1 + rule.max_step)
    return "blend" if deviation < 1 else "first", factor


def _pools(mixture: Mixture, side: Side) -> list[str]:
    first, *others = mixture
    return [first] if side == "first" else others


def _rows(mixture: Mixture, side: Side) -> int:
    return sum(mixture[pool] for pool in _pools(mixture, side))
