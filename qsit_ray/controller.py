"""pure: the controller that keeps the primary's loss ratio at the proxy's (paper, Eq. 8-10)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from qsit_ray.config.train import Controller
from qsit_ray.mixture import Mixture, half_up

Verdict = Literal["grow_scoring", "grow_interpreting", "hold"]
Side = Literal["scoring", "blend"]
Limit = Literal["max_growth", "max_repeats"]


@dataclass(frozen=True)
class Decision:
    """One epoch's losses, what they say, and the sizes of the next epoch.

    `limit`: what kept the lagging side from growing as far as the rule wanted.
    """

    epoch: int
    sizes: Mixture
    loss_scoring: float
    loss_interpreting: float
    loss_ratio: float
    verdict: Verdict
    next_sizes: Mixture
    limit: Limit | None = None


@dataclass
class MixtureController:
    """Decides each epoch's Mixture from the losses of the epoch before.

    `reference_loss_ratio` is λ = L_S/L_I of the proxy at the chosen mix (Eq. 8); `first` is the
    mixture of epoch 0; without λ every epoch holds it. `catalog` is how many rows each domain has;
    without it rows are not known to be exhausted. Epochs are observed in order; observing the last
    one again gives the same answer, so a restarted epoch is harmless.
    """

    first: Mixture
    reference_loss_ratio: float | None
    rule: Controller = field(default_factory=Controller)
    catalog: Mapping[str, int] | None = None
    decisions: list[Decision] = field(default_factory=list)

    def mixture(self, epoch: int) -> Mixture:
        """The mixture of `epoch`; known once the epoch before has been observed."""
        if epoch > len(self.decisions):
            raise ValueError(
                f"epoch {epoch} is not decided yet: {len(self.decisions)} epochs observed"
            )
        return self.decisions[epoch - 1].next_sizes if epoch else self.first

    def observe(self, epoch: int, loss_scoring: float, loss_interpreting: float) -> Decision:
        """Compare L_S/L_I with λ and fix the next epoch's sizes (Eq. 9-10).

        Below λ scoring is ahead and the D2+D3 blend grows with D2:D3 kept; above λ D1 grows.
        Losses are mean negative log-likelihoods in nats over answer tokens of validation rows.

        Raises ValueError for a loss that is not a positive finite number, or an epoch out of turn.
        """
        for name, loss in (
            ("loss_scoring", loss_scoring),
            ("loss_interpreting", loss_interpreting),
        ):
            if not (math.isfinite(loss) and loss > 0):
                raise ValueError(f"epoch {epoch}: {name} is {loss}; expected a number above 0")
        sizes = self.mixture(epoch)
        ratio = loss_scoring / loss_interpreting
        verdict, factor = self._judged(ratio)
        next_sizes, limit = self._next(sizes, verdict, factor)
        decision = Decision(
            epoch, sizes, loss_scoring, loss_interpreting, ratio, verdict, next_sizes, limit
        )
        self.decisions[epoch:] = [decision]
        return decision

    def position(self) -> tuple[int, Mixture]:
        """(epoch, mixture) that the next pass over the data serves."""
        epoch = len(self.decisions)
        return epoch, self.mixture(epoch)

    def begin(self, state: dict[str, Any]) -> None:
        """Take up `state`, as a checkpoint holds it: after it, `position` is where to go on."""
        self.decisions = [
            Decision(
                **{
                    **decision,
                    "sizes": Mixture(**decision["sizes"]),
                    "next_sizes": Mixture(**decision["next_sizes"]),
                }
            )
            for decision in state["decisions"]
        ]

    def state(self) -> dict[str, Any]:
        """All that has been decided, as JSON values."""
        return {"decisions": [asdict(decision) for decision in self.decisions]}

    def _judged(self, ratio: float) -> tuple[Verdict, float]:
        """What the ratio says, and the factor by which the lagging side is to grow."""
        reference, rule = self.reference_loss_ratio, self.rule
        if reference is None:
            return "hold", 1.0
        if reference * (1 - rule.tolerance) <= ratio <= reference * (1 + rule.tolerance):
            return "hold", 1.0
        factor = 1 + rule.step
        if rule.step_rule == "proportional":
            # In logarithms, since half of λ and twice λ are equally far from it.
            factor = min(math.exp(rule.gain * abs(math.log(ratio / reference))), 1 + rule.max_step)
        return "grow_interpreting" if ratio < reference else "grow_scoring", factor

    def _next(
        self, sizes: Mixture, verdict: Verdict, factor: float
    ) -> tuple[Mixture, Limit | None]:
        if verdict == "hold":
            return sizes, None
        rows: dict[Side, int] = {
            "scoring": sizes.scoring,
            "blend": sizes.interpreting + sizes.general,
        }
        grows: Side = "scoring" if verdict == "grow_scoring" else "blend"
        other: Side = "blend" if grows == "scoring" else "scoring"
        wanted = half_up(rows[grows] * factor)
        limits = self._limits(grows)
        limit = min(limits, key=lambda name: limits[name])
        # A side that stood beyond its limit from the start stays where it is.
        grown = {grows: max(rows[grows], min(wanted, limits[limit]))}
        if self.rule.shrink:
            floor = math.ceil(self._first(other) * self.rule.min_growth)
            grown[other] = min(rows[other], max(half_up(rows[other] / factor), floor))
        return self._sized(sizes, grown), limit if wanted > limits[limit] else None

    def _limits(self, side: Side) -> dict[Limit, int]:
        """The most rows that a side may have."""
        limits: dict[Limit, int] = {"max_growth": int(self._first(side) * self.rule.max_growth)}
        if self.catalog is not None:
            repeats = self.rule.max_repeats if self.rule.exhausted == "repeat" else 1
            # The domain of the side that runs out first, since D2:D3 is kept.
            limits["max_repeats"] = min(
                (
                    repeats * self.catalog[domain] * self._first(side) // rows
                    for domain, rows in self._domains(side).items()
                    if rows
                ),
                default=0,
            )
        return limits

    def _domains(self, side: Side) -> dict[str, int]:
        """The side's domains in the first mixture."""
        counts = self.first.counts()
        names = ("scoring",) if side == "scoring" else ("interpreting", "general")
        return {name: counts[name] for name in names}

    def _first(self, side: Side) -> int:
        return sum(self._domains(side).values())

    def _sized(self, sizes: Mixture, rows: Mapping[Side, int]) -> Mixture:
        """`sizes` with the rows of one or both sides."""
        scoring = rows.get("scoring", sizes.scoring)
        if "blend" not in rows or not self._first("blend"):
            return Mixture(scoring, sizes.interpreting, sizes.general)
        # Shares of the first mixture, not of the last: rounding would bend D2:D3 bit by bit.
        interpreting = half_up(rows["blend"] * self.first.interpreting / self._first("blend"))
        return Mixture(scoring, interpreting, rows["blend"] - interpreting)
