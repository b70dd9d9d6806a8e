"""pure: whether merged experts would tell what trained mixtures do: their shares, and the verdict.

A merge is the mean of the weights of models that were trained on different mixtures. It stands for
a model that was trained on the mean of their mixtures, as long as the models stay near the base
(docs/SEARCH.md). A component is trained half on its own pool and half on all alike; anchors are
mixtures between the components, which are trained as well as merged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from qsit_ray.losses import LOSS, Losses
from qsit_ray.mixture import Mixture, half_up

Parts = tuple[float, ...]
"""The part of each component in a merge, in the order of the pools."""


@dataclass(frozen=True)
class Anchor:
    """One anchor: the `parts` of the components, and log losses, trained and merged."""

    parts: Parts
    trained: dict[str, float]
    merged: dict[str, float]


@dataclass(frozen=True)
class MergeCheck:
    """What a check found. `displacement`: of each component, the norm of its change over that of
    the base weights."""

    displacement: dict[str, float]
    anchors: tuple[Anchor, ...]

    @property
    def losses(self) -> list[str]:
        """The names of the losses that are compared."""
        return [*self.anchors[0].trained]

    @property
    def errors(self) -> dict[str, float]:
        """The greatest |log merged loss - log trained loss| over the anchors."""
        return {
            loss: max(abs(each.merged[loss] - each.trained[loss]) for each in self.anchors)
            for loss in self.losses
        }

    @property
    def spreads(self) -> dict[str, float]:
        """The range of the trained anchors' log losses: what a merge would have to tell apart."""
        return {
            loss: float(np.ptp([each.trained[loss] for each in self.anchors]))
            for loss in self.losses
        }

    @property
    def is_trusted(self) -> bool:
        """A merge is off by less than half of what lies between the anchors, in both losses."""
        return all(self.errors[loss] < 0.5 * self.spreads[loss] for loss in self.losses)

    @property
    def verdict(self) -> str:
        far = max(self.displacement.values())
        figures = ", ".join(
            f"{loss} by up to {self.errors[loss]:.2g} of {self.spreads[loss]:.2g}"
            for loss in self.losses
        )
        return (
            f"Merged experts {'follow' if self.is_trusted else 'do not follow'} trained mixtures "
            f"here: in log loss they miss {figures} between the anchors; components move by up to "
            f"{100 * far:.2g} % of the base weights."
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "displacement": self.displacement,
            "anchors": [asdict(each) for each in self.anchors],
            "errors": self.errors,
            "spreads": self.spreads,
            "trusted": self.is_trusted,
            "verdict": self.verdict,
        }


def component(pool: str, pools: Sequence[str]) -> Parts:
    """The parts of a component alone."""
    return tuple(float(name == pool) for name in pools)


def anchors(pools: Sequence[str]) -> list[Parts]:
    """All components alike, and each two of them."""
    pairs = [
        tuple(0.5 if name in pair else 0.0 for name in pools) for pair in combinations(pools, 2)
    ]
    alike = (1 / len(pools),) * len(pools)
    return [alike, *(pair for pair in pairs if pair != alike)]


def mixture(parts: Parts, pools: Sequence[str], rows: int) -> Mixture:
    """The mixture of so many rows that a merge of these parts stands for."""
    shares = [0.5 * part + 0.5 / len(pools) for part in parts]
    counts = [half_up(share * rows) for share in shares]
    return Mixture(zip(pools, counts, strict=True))


def rows_of(sizes: Mapping[str, int], max_repeats: int) -> int:
    """Rows of every mixture: as many as the smallest pools allow without more repeats of a row,
    and no more than all pools have."""
    most = 0.5 + 0.5 / len(sizes)  # the share of a component's own pool
    return min(sum(sizes.values()), int(min(sizes.values()) * max_repeats / most))


def logs(losses: Losses) -> dict[str, float]:
    """Log losses, as anchors have them."""
    return {LOSS + task: float(np.log(loss)) for task, loss in losses.items()}
