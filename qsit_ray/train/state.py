"""pure: what a training goes on from, beside the weights and what DeepSpeed keeps."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qsit_ray import artifacts
from qsit_ray.config.config import Config
from qsit_ray.controller import Decision, MixtureController
from qsit_ray.errors import InputError
from qsit_ray.mixture import EpochPlan, Mixture
from qsit_ray.train.bad_loss import BadBatches
from qsit_ray.train.checkpoint import Checkpoints

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


@dataclass(frozen=True)
class Position:
    """What the next pass over the data serves: `epoch` from `step` on, to `world_size` workers."""

    epoch: int
    step: int
    mixture: Mixture
    world_size: int


class Course:
    """Holds what rank 0 said last, for whoever serves the data or shows the progress.

    Every call carries the whole state that it needs: where the process that holds this died and
    came back empty, only `position` is lost, until the workers begin again.
    """

    def __init__(self, controller: MixtureController):
        self.controller = controller
        self._position: Position | None = None
        self._shown = (0, 0)

    def begin(self, decisions: dict[str, Any], step: int, world_size: int) -> Position:
        """Stand at `step` of the epoch that follows the controller's `decisions`."""
        self.controller.begin(decisions)
        epoch, mixture = self.controller.position()
        self._position = Position(epoch, step, mixture, world_size)
        return self._position

    def position(self) -> Position:
        """Raises RuntimeError before `begin`: a guess would serve rows of another epoch."""
        if self._position is None:
            raise RuntimeError("nobody has said yet where the training stands")
        return self._position

    def decide(
        self, decisions: dict[str, Any], epoch: int, loss_scoring: float, loss_interpreting: float
    ) -> tuple[Decision, dict[str, Any]]:
        """The controller's answer to an epoch's losses, and all decisions with it."""
        self.controller.begin(decisions)
        decision = self.controller.observe(epoch, loss_scoring, loss_interpreting)
        return decision, self.controller.state()

    def show(self, done: int, total: int) -> None:
        self._shown = done, total

    def shown(self) -> tuple[int, int]:
        """(rows trained, rows of the whole run as far as known)."""
        return self._shown


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
