"""rim: the course actor: the position of the training, with its mix as Ray metrics."""

from __future__ import annotations

from qsit_ray.run_files import EpochLine
from qsit_ray.train.gauges import EpochGauges
from qsit_ray.train.state import Course, Position


class ShownCourse(Course):
    """A `Course` whose position and last epoch are Ray metrics.

    There is one for all ranks, which lives as long as the driver: each metric is one series. Every
    method may be called twice, and so may be repeated where a death interrupted it.
    """

    def __init__(self, run: str, training: str) -> None:
        super().__init__()
        self._gauges = EpochGauges(run, training)

    def move_to(self, position: Position) -> None:
        super().move_to(position)
        self._gauges.begin(position.epoch, position.mixture)

    def end_epoch(self, line: EpochLine) -> None:
        """Show the loss ratio of an epoch that has ended, and λ."""
        self._gauges.end(line)
