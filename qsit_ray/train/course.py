"""pure: where a training stands between its workers and its Dataset; an actor holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qsit_ray.controller import Decision, MixtureController
from qsit_ray.mixture import Mixture


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
