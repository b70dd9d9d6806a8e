"""pure: what the training workers are told, and one line of epochs.jsonl."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsit_ray.config import Config
from qsit_ray.controller import Decision
from qsit_ray.mixture import EpochPlan
from qsit_ray.train.checkpoint import Checkpoints


@dataclass(frozen=True)
class Job:
    """The primary's run as every worker sees it; `session` is the driver's."""

    config: Config
    catalog: Path
    features: Path
    base: str
    epochs_file: Path
    model_folder: Path
    reference_loss_ratio: float | None
    controller: str
    progress: str
    checkpoints: Checkpoints
    session: str


@dataclass
class Consumed:
    """What the ranks trained of one epoch: a checksum as `EpochPlan.planned`, and rows."""

    checksum: int = 0
    rows: int = 0


def epoch_line(
    plan: EpochPlan,
    decision: Decision,
    reference_loss_ratio: float | None,
    consumed: Consumed,
    timing: dict[str, float],
    last: bool,
) -> dict[str, Any]:
    """One line of epochs.jsonl.

    Raises RuntimeError when what was consumed is not what was planned.
    """
    if (consumed.checksum, consumed.rows) != (plan.planned, len(plan.rows)):
        raise RuntimeError(
            f"epoch {plan.epoch}: {len(plan.rows)} rows planned (checksum {plan.planned}), "
            f"{consumed.rows} trained (checksum {consumed.checksum})"
        )
    return {
        "epoch": plan.epoch,
        "sizes": decision.sizes.counts(),
        "loss_scoring": decision.loss_scoring,
        "loss_interpreting": decision.loss_interpreting,
        "loss_ratio": decision.loss_ratio,
        "reference_loss_ratio": reference_loss_ratio,
        "verdict": decision.verdict,
        "next_sizes": None if last else decision.next_sizes.counts(),
        "plan_sha256": plan.sha256,
        "consumed": consumed.checksum,
        "planned": plan.planned,
        "rows_planned": len(plan.rows),
        "rows_trained": consumed.rows,
        "timing": timing,
    }
