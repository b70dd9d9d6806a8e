"""pure: what a training goes on from, beside the weights and what DeepSpeed keeps."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qsit_ray import artifacts
from qsit_ray.errors import InputError
from qsit_ray.mixture import EpochPlan

FILE = "state.json"


@dataclass
class Consumed:
    """What was trained of one epoch: a checksum as `EpochPlan.planned`, rows, and those among them
    whose answer was cut at `models.max_length`."""

    checksum: int = 0
    rows: int = 0
    cut: int = 0

    def add(self, checksum: int, rows: int, cut: int = 0) -> None:
        self.checksum = (self.checksum + checksum) % 2**64
        self.rows += rows
        self.cut += cut


@dataclass
class State:
    """`lines` are the epochs done, as in epochs.jsonl; of the next, `step` global batches are
    trained, which `consumed`, `skipped` and `timing` count."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    decisions: dict[str, Any] = field(default_factory=lambda: {"decisions": []})
    step: int = 0
    consumed: Consumed = field(default_factory=Consumed)
    skipped: Consumed = field(default_factory=Consumed)
    timing: dict[str, float] = field(default_factory=dict)
    world_size: int = 1

    @property
    def epoch(self) -> int:
        return len(self.lines)

    def write(self, folder: Path) -> None:
        artifacts.write_json(folder / FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> State:
        """Raises InputError naming the file when it can't be read as a state."""
        values = artifacts.read_json(folder / FILE)
        try:
            for name in ("consumed", "skipped"):
                values[name] = Consumed(**values[name])
            return cls(**values)
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"{folder / FILE}: not a training's state: {error}") from None

    def check(self, plan: EpochPlan) -> None:
        """Raises RuntimeError when what was trained and skipped is not what was planned."""
        whole = Consumed(**asdict(self.consumed))
        whole.add(self.skipped.checksum, self.skipped.rows)
        if (whole.checksum, whole.rows) != (plan.planned, len(plan.rows)):
            raise RuntimeError(
                f"epoch {plan.epoch}: {len(plan.rows)} rows planned (checksum {plan.planned}), "
                f"{whole.rows} trained or skipped (checksum {whole.checksum})"
            )
