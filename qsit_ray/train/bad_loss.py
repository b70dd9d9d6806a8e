"""pure: global batches whose loss was no number or beyond all bounds, and those passed over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qsit_ray import artifacts


class BadLoss(FloatingPointError):
    """A global batch's loss is not finite or over `train.loss_limit`, on all ranks alike.

    `suspects` are those of this rank's micro-batches whose own loss is.
    """

    def __init__(self, loss: float, suspects: Sequence[int]):
        super().__init__(f"the loss is {loss}")
        self.loss = loss
        self.suspects = list(suspects)


@dataclass(frozen=True)
class BadBatch:
    """Where it happened; `rows` are catalog rows of the suspected micro-batches, `ids` theirs."""

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
    """The bad batches of a training, in `folder`: the last one met, and those to pass over."""

    folder: Path

    @property
    def _met(self) -> Path:
        return self.folder / "bad_loss.json"

    @property
    def _skipped(self) -> Path:
        return self.folder / "skipped.json"

    def meet(self, batch: BadBatch) -> None:
        artifacts.write_json(self._met, asdict(batch))

    def met(self) -> BadBatch | None:
        return BadBatch(**artifacts.read_json(self._met)) if self._met.exists() else None

    def forget(self) -> None:
        self._met.unlink(missing_ok=True)

    def skip(self, batch: BadBatch) -> None:
        """Pass over its global batch from now on."""
        artifacts.write_json(self._skipped, [asdict(each) for each in [*self.skipped(), batch]])
        self.forget()

    def skipped(self) -> list[BadBatch]:
        if not self._skipped.exists():
            return []
        return [BadBatch(**batch) for batch in artifacts.read_json(self._skipped)]
