"""pure: global batches whose loss is not finite or too large, recorded and skipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qsit_ray import artifacts

RECORDED, SKIPPED = "bad_loss.json", "skipped.json"


class BadLoss(FloatingPointError):
    """A global batch's loss is not finite or over `train.loss_limit`; raised on all ranks alike.

    `suspects` are the indices of this rank's micro-batches whose own loss is not finite or over the
    limit.
    """

    def __init__(self, loss: float, suspects: Sequence[int]):
        super().__init__(f"the loss is {loss}")
        self.loss = loss
        self.suspects = list(suspects)


@dataclass(frozen=True)
class BadBatch:
    """A bad loss: its epoch and step, and the catalog rows of the suspected micro-batches with
    their `ids`."""

    epoch: int
    step: int
    loss: str
    rows: list[int]
    ids: list[str]

    def __str__(self) -> str:
        shown = ", ".join(f"{row} ({name})" for row, name in zip(self.rows, self.ids, strict=True))
        return f"epoch {self.epoch}, step {self.step}: the loss is {self.loss}; rows {shown}"


@dataclass(frozen=True)
class BadBatches:
    """Files in `folder`: the bad batch recorded last, and the batches to skip."""

    folder: Path

    def record(self, batch: BadBatch) -> None:
        artifacts.write_json(self.folder / RECORDED, asdict(batch))

    def recorded(self) -> BadBatch | None:
        file = self.folder / RECORDED
        return BadBatch(**artifacts.read_json(file)) if file.exists() else None

    def clear(self) -> None:
        (self.folder / RECORDED).unlink(missing_ok=True)

    def skip(self, batch: BadBatch) -> None:
        """Have its whole global batch skipped from now on."""
        batches = [*self.skipped(), batch]
        artifacts.write_json(self.folder / SKIPPED, [asdict(each) for each in batches])
        self.clear()

    def skipped(self) -> list[BadBatch]:
        file = self.folder / SKIPPED
        return [BadBatch(**each) for each in artifacts.read_json(file)] if file.exists() else []
