"""rim: adaptive proposals through Tune: one round of trials after another, each seeing the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from qsit_ray.search.records import Point, outcomes

Observed = tuple[float, int, float | None]


class Rounds(Searcher):
    """Suggests the points of the round that `propose` makes of all earlier ones' scores.

    `propose` is a pure function, and scores are read from the trials' own outcome files: begun
    anew after any interruption, the same points come in the same order.
    """

    def __init__(self, propose: Callable[[Sequence[Observed]], list[Point]], folder: Path):
        super().__init__()
        self.propose = propose
        self.folder = folder
        self.points: list[Point] = []
        self.waiting: list[Point] = []
        self.running: set[str] = set()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if not self.waiting:
            if self.running:
                return None  # the round's last trials decide the next
            self.waiting = self.propose(self.observed())
            self.points += self.waiting
            if not self.waiting:
                return Searcher.FINISHED
        ratio, seed = self.waiting.pop(0)
        self.running.add(trial_id)
        return {"point": {"ratio": ratio, "seed": seed}}

    def observed(self) -> list[Observed]:
        """(ratio, seed, score) of all points so far; a trial that failed has no score."""
        done = outcomes(self.folder, self.points)
        return [(*point, done[point]["score"] if point in done else None) for point in self.points]

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self.running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: see the class."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""
