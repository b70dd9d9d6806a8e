"""pure: the controller that keeps the primary's loss ratio at the proxy's (paper, Eq. 8-10)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from qsit_ray.mixture import Mixture, half_up

Verdict = Literal["grow_scoring", "grow_interpreting", "hold"]


@dataclass(frozen=True)
class Rule:
    """How far one decision goes. The paper names the direction only; these are settings.

    `tolerance`: relative band around λ in which nothing changes. `step`: share by which the
    lagging side grows. `max_growth`: a side never exceeds this multiple of its first size.
    """

    tolerance: float = 0.05
    step: float = 0.2
    max_growth: float = 2.0


@dataclass(frozen=True)
class Decision:
    """One epoch's losses, what they say, and the sizes of the next epoch."""

    epoch: int
    sizes: Mixture
    loss_scoring: float
    loss_interpreting: float
    loss_ratio: float
    verdict: Verdict
    next_sizes: Mixture


@dataclass
class MixtureController:
    """Decides each epoch's Mixture from the losses of the epoch before.

    `reference_loss_ratio` is λ = L_S/L_I of the proxy at the chosen mix (Eq. 8); `first` is the
    mixture of epoch 0; without λ every epoch holds it. Epochs are observed in order; observing the
    last one again gives the same answer, so a restarted epoch is harmless.
    """

    first: Mixture
    reference_loss_ratio: float | None
    rule: Rule = field(default_factory=Rule)
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
        verdict = self._verdict(ratio)
        decision = Decision(
            epoch,
            sizes,
            loss_scoring,
            loss_interpreting,
            ratio,
            verdict,
            self._next(sizes, verdict),
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

    def _verdict(self, ratio: float) -> Verdict:
        if self.reference_loss_ratio is None:
            return "hold"
        if ratio < self.reference_loss_ratio * (1 - self.rule.tolerance):
            return "grow_interpreting"
        if ratio > self.reference_loss_ratio * (1 + self.rule.tolerance):
            return "grow_scoring"
        return "hold"

    def _next(self, sizes: Mixture, verdict: Verdict) -> Mixture:
        if verdict == "hold":
            return sizes
        if verdict == "grow_scoring":
            return replace(sizes, scoring=self._grown(sizes.scoring, self.first.scoring))
        first = self.first.interpreting + self.first.general
        if not first:
            return sizes
        blend = self._grown(sizes.interpreting + sizes.general, first)
        # Shares of the first mixture, not of the last: rounding would bend D2:D3 bit by bit.
        interpreting = half_up(blend * self.first.interpreting / first)
        return replace(sizes, interpreting=interpreting, general=blend - interpreting)

    def _grown(self, now: int, first: int) -> int:
        return max(now, min(half_up(now * (1 + self.rule.step)), int(first * self.rule.max_growth)))
