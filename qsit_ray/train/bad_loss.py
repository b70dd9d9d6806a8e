"""pure: global batches whose loss is not finite or too large, recorded and skipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qsit_ray import artifacts


class BadLoss(FloatingPointError):
    """A global batch's loss is not finite or over `train.loss_limit`; raised on all ranks alike.

    `suspects` are the indices of this rank's micro-batches whose own loss is.
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

    @property
    def _recorded(self) -> Path:
        return self.folder / "bad_loss.json"

    @property
    def _skipped(self) -> Path:
        return self.folder / "skipped.json"

    def record(self, batch: BadBatch) -> None:
        artifacts.write_json(self._recorded, asdict(batch))

    def recorded(self) -> BadBatch | None:
        return BadBatch(**artifacts.read_json(self._recorded)) if self._recorded.exists() else None

    def clear(self) -> None:
        self._recorded.unlink(missing_ok=True)

    def skip(self, batch: BadBatch) -> None:
        """Have its whole global batch skipped from now on."""
        artifacts.write_json(self._skipped, [asdict(each) for each in [*self.skipped(), batch]])
        self.clear()

    def skipped(self) -> list[BadBatch]:
        if not self._skipped.exists():
            return []
        return [BadBatch(**batch) for batch in artifacts.read_json(self._skipped)]
