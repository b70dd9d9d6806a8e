"""pure: trials that only pretend to train, to try a cluster before money is spent."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from qsit_ray import artifacts
from qsit_ray.config.search import Rehearsal, Search
from qsit_ray.mixture import Mixture, plan_epoch

LOOKS = 8
# The planted curve falls by up to this much, at these speeds left and right of its peak: with a
# peak at 2.42 it is .031 lower at 0.1 and .006 lower at 10.
DEPTH, LEFT, RIGHT = 0.035, 0.92, 0.44
SCORE, LOSS_INTERPRETING = 0.75, 1.0


def planted_score(ratio: float, optimum: float) -> float:
    """A smooth single peak over log-ratio, steeper to the left; no polynomial in any coordinate."""
    x = float(np.log(ratio / optimum))
    return SCORE - DEPTH * (1 - 1 / np.cosh(x * (LEFT if x < 0 else RIGHT)))


class RehearsedTraining:
    """Has the face of a proxy training, takes as long as its rows would, and ends with a planted
    score plus noise that depends on the ratio and the seed alone."""

    def __init__(
        self, search: Search, optimum: float, ratio: float, mixture: Mixture, sizes: Any, seed: int
    ):
        assert search.rehearsal is not None
        self.settings: Rehearsal = search.rehearsal
        self.mixture = mixture
        chance = np.random.default_rng([seed, *np.array([ratio]).view(np.uint32)])
        # A plateau ends a real trial somewhere before its longest.
        longest = search.longest(mixture.total)
        self.steps_to_go = max(1, round(longest * chance.uniform(0.4, 1.0)))
        self.seconds = self.steps_to_go * search.training.batch_size / self.settings.rows_per_second
        self.score = planted_score(ratio, optimum) + self.settings.noise * chance.normal()
        self.plan_sha256 = plan_epoch(mixture, sizes, 0, seed, search.training.batch_size).sha256
        self.looks = 0

    def advance(self) -> bool:
        """Wait for one look's share of the time; True when the training has ended."""
        time.sleep(self.seconds / LOOKS)
        self.looks += 1
        return self.looks >= LOOKS

    def result(self) -> dict[str, Any]:
        return {
            "loss_scoring": self.settings.loss_ratio * LOSS_INTERPRETING,
            "loss_interpreting": LOSS_INTERPRETING,
            "accuracy": self.score,
            "srcc": self.score,
            "plcc": self.score,
            "steps": self.steps_to_go,
            "best_step": self.steps_to_go,
            "stopped": "plateau",
            "plan_sha256": self.plan_sha256,
        }

    def save(self, folder: Path) -> None:
        artifacts.write_json(folder / "rehearsal.json", self.looks)

    def load(self, folder: Path) -> None:
        self.looks = artifacts.read_json(folder / "rehearsal.json")
