"""pure: everything that a training resumes from, except the weights and DeepSpeed's own state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.files import validated
from qsit_ray.config.train import Train
from qsit_ray.controller import Decision, MixtureController
from qsit_ray.data.catalog import open_catalog
from qsit_ray.errors import InputError
from qsit_ray.losses import Losses, unkeyed
from qsit_ray.mixture import EpochPlan, Mixture
from qsit_ray.run_files import EpochLine, FoundMix
from qsit_ray.train.bad_loss import BadBatches
from qsit_ray.train.checkpoint import Checkpoints

FILE = "state.json"


@dataclass(frozen=True)
class Consumed:
    """Rows of one epoch that were trained or skipped: their checksum as `EpochPlan.planned`, their
    number, and those among them whose answer was cut at `models.max_length`."""

    checksum: int = 0
    rows: int = 0
    cut: int = 0

    def __add__(self, other: Consumed) -> Consumed:
        checksum = (self.checksum + other.checksum) % 2**64
        return Consumed(checksum, self.rows + other.rows, self.cut + other.cut)


@dataclass(frozen=True)
class Measured:
    """Result of one validation. Losses: mean negative log-likelihood in nats over answer tokens;
    srcc of Eq. 5's scores and accuracy of closed-set multiple choice, None where undefined."""

    losses: Losses
    srcc: float | None
    accuracy: float | None


@dataclass(frozen=True)
class TrainState:
    """The one record of a training's progress, for workers, actor and checkpoint alike.

    `lines` are the epochs done, as in epochs.jsonl, and `decisions` the controller's after each.
    `step` global batches of the next epoch are done; `consumed` and `skipped` count their rows,
    `timing` their seconds. `world_size` is the number of ranks.
    """

    lines: list[EpochLine] = field(default_factory=list)
    decisions: tuple[Decision, ...] = ()
    step: int = 0
    consumed: Consumed = Consumed()
    skipped: Consumed = Consumed()
    timing: dict[str, float] = field(default_factory=dict)
    world_size: int = 1

    @property
    def epoch(self) -> int:
        return len(self.lines)

    def steps_before(self, global_batch: int) -> int:
        """Optimiser steps of the epochs done."""
        return sum(-(-line.rows_planned // global_batch) for line in self.lines)

    def write(self, folder: Path) -> None:
        content = asdict(self) | {
            "lines": [line.to_json() for line in self.lines],
            # Wrapped once more in the file, so that older checkpoints can be resumed.
            "decisions": {"decisions": [each.to_json() for each in self.decisions]},
        }
        artifacts.write_json(folder / FILE, content)

    @classmethod
    def read(cls, folder: Path) -> TrainState:
        """Raises InputError naming the file when it can't be read as a state."""
        content = artifacts.read_json(folder / FILE)
        try:
            decided = {
                "lines": [unkeyed(line) for line in content["lines"]],
                "decisions": [unkeyed(each) for each in content["decisions"]["decisions"]],
            }
        except (KeyError, TypeError) as error:
            raise InputError(f"{folder / FILE}: not a training's state: {error}") from None
        return validated(cls, {**content, **decided}, str(folder / FILE))

    def check(self, plan: EpochPlan) -> None:
        """Raises RuntimeError when the rows trained and skipped are not those planned."""
        done = self.consumed + self.skipped
        if (done.checksum, done.rows) != (plan.planned, len(plan.rows)):
            raise RuntimeError(
                f"epoch {plan.epoch}: {len(plan.rows)} rows planned (checksum {plan.planned}), "
                f"{done.rows} trained or skipped (checksum {done.checksum})"
            )


@dataclass(frozen=True)
class Position:
    """The part of the plan that the Dataset serves next: `epoch` from `step` on, to `world_size`
    workers. `used` counts the rows of each pool that it passes over."""

    epoch: int
    step: int
    mixture: Mixture
    world_size: int
    used: dict[str, int] = field(default_factory=dict)


def used_rows(train: Train, epochs: Sequence[Mixture]) -> dict[str, int]:
    """Rows of each pool that an epoch after these does not take again (`train.epoch_rows`)."""
    if train.epoch_rows == "same" or not epochs:
        return {}
    return {pool: sum(sizes[pool] for sizes in epochs) for pool in epochs[0]}


class Course:
    """Holds the position that rank 0 set last, for the data source, which runs elsewhere.

    A process of this class that died and was restarted is empty until the workers start again.
    """

    def __init__(self) -> None:
        self._position: Position | None = None

    def move_to(self, position: Position) -> None:
        self._position = position

    def position(self) -> Position:
        """Raises RuntimeError before `move_to`: a guess would serve rows of another epoch."""
        if self._position is None:
            raise RuntimeError("the position of the training is not set yet")
        return self._position


@dataclass(frozen=True)
class Job:
    """One training of the primary, the same value on the driver and on every worker.

    `base` is the checkpoint that it starts from. `session` names this start of the driver.
    """

    run: RunFolder
    config: Config
    base: str
    mixture: FoundMix
    checkpoints: Checkpoints
    session: str

    @property
    def name(self) -> str:
        """The training's key at trackers: the run folder's name and the hash of the inputs."""
        return f"{self.run.path.name}-{self.checkpoints.folder.name.removeprefix('ray-')}"

    @property
    def title(self) -> str:
        """The training as Ray's dashboard names it: the run folder and the primary's base."""
        return f"{self.run.path.name}: {self.config.models.primary}"

    @property
    def course(self) -> str:
        """The name of the actor that holds the `Course`."""
        return f"course-{self.session}"

    @property
    def bad_batches(self) -> BadBatches:
        return BadBatches(self.checkpoints.folder)

    @property
    def progress_file(self) -> Path:
        """[rows trained, rows of the whole run, ranks], written by rank 0 for the driver's bar.

        A file needs no process and no restart after a kill, and every worker can write to the run
        folder already. It has the session's name, so that workers of a killed session that still
        run do not overwrite it.
        """
        return self.checkpoints.folder / f"progress_{self.session[-8:]}.json"

    def controller(self, decisions: tuple[Decision, ...]) -> MixtureController:
        """The controller after `decisions`; every process that asks gets the same answers."""
        rule = self.config.train.controller
        return MixtureController(
            self.mixture.rows,
            self.mixture.references(rule.reference if rule else "best"),
            rule,
            open_catalog(self.run.catalog).sizes,
            list(decisions),
        )

    def position(self, state: TrainState) -> Position:
        """The part of the plan that a training of this state continues with."""
        mixture = self.controller(state.decisions).mixture(state.epoch)
        used = used_rows(self.config.train, [line.sizes for line in state.lines])
        return Position(state.epoch, state.step, mixture, state.world_size, used)

    def line(
        self, plan: EpochPlan, state: TrainState, decision: Decision, measured: Measured
    ) -> EpochLine:
        """The epoch's line of epochs.jsonl; `state` is the one after its last step.

        Raises RuntimeError when the rows trained and skipped are not those planned.
        """
        state.check(plan)
        return EpochLine(
            epoch=plan.epoch,
            sizes=decision.sizes,
            losses=decision.losses,
            loss_ratio=decision.loss_ratio,
            reference_loss_ratio=decision.reference_loss_ratio,
            verdict=decision.verdict,
            next_sizes=decision.next_sizes,
            srcc=measured.srcc,
            accuracy=measured.accuracy,
            plan_sha256=plan.sha256,
            consumed=state.consumed.checksum,
            planned=plan.planned,
            rows_planned=len(plan.rows),
            rows_trained=state.consumed.rows,
            rows_skipped=state.skipped.rows,
            answers_cut=state.consumed.cut,
            timing=state.timing,
            tolerance=decision.tolerance,
        )

    def written(self, state: TrainState) -> list[EpochLine]:
        """The lines of epochs.jsonl; no sizes follow the last epoch, unless epochs are added."""
        last = self.config.train.epochs - 1
        return [
            replace(line, next_sizes=None) if line.epoch == last else line for line in state.lines
        ]
