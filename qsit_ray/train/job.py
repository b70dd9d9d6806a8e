"""pure: what the training workers are told, and one line of epochs.jsonl."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsit_ray.config import Config
from qsit_ray.controller import Decision
from qsit_ray.mixture import EpochPlan
from qsit_ray.train.bad_loss import BadBatches
from qsit_ray.train.checkpoint import Checkpoints
from qsit_ray.train.state import State


@dataclass(frozen=True)
class Job:
    """The primary's run as every worker sees it.

    `session` is the driver's, `course` the name of the actor that holds the `Course`.
    """

    config: Config
    catalog: Path
    features: Path
    base: str
    epochs_file: Path
    model_folder: Path
    reference_loss_ratio: float | None
    checkpoints: Checkpoints
    session: str
    course: str

    @property
    def name(self) -> str:
        """What trackers know the training by: the run folder's name and its inputs' hash."""
        folder = self.checkpoints.folder
        return f"{folder.parents[1].name}-{folder.name.removeprefix('ray-')}"

    @property
    def bad_batches(self) -> BadBatches:
        return BadBatches(self.checkpoints.folder)


def epoch_line(
    plan: EpochPlan,
    state: State,
    decision: Decision,
    measured: dict[str, float | None],
    reference_loss_ratio: float | None,
    last: bool,
) -> dict[str, Any]:
    """One line of epochs.jsonl; `measured` is what validation found beside the losses.

    Raises RuntimeError when what was trained or skipped is not what was planned.
    """
    state.check(plan)
    return {
        "epoch": plan.epoch,
        "sizes": decision.sizes.counts(),
        "loss_scoring": decision.loss_scoring,
        "loss_interpreting": decision.loss_interpreting,
        "loss_ratio": decision.loss_ratio,
        "reference_loss_ratio": reference_loss_ratio,
        "verdict": decision.verdict,
        "next_sizes": None if last else decision.next_sizes.counts(),
        "srcc": measured["srcc"],
        "accuracy": measured["accuracy"],
        "plan_sha256": plan.sha256,
        "consumed": state.consumed.checksum,
        "planned": plan.planned,
        "rows_planned": len(plan.rows),
        "rows_trained": state.consumed.rows,
        "rows_skipped": state.skipped.rows,
        "answers_cut": state.consumed.cut,
        "timing": state.timing,
    }
