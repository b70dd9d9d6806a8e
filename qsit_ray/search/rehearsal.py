"""pure: trials that only pretend to train, to try a cluster before money is spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from qsit_ray import artifacts
from qsit_ray.config.search import Search
from qsit_ray.mixture import Mixture, plan_epoch
from qsit_ray.search.trials import Latest, Look, TrialMetrics
from qsit_ray.step_lines import StepLine

EVALUATIONS = 8
# The planted curve falls by up to this much, at these speeds left and right of its peak: with a
# peak at 2.42 it is .031 lower at 0.1 and .006 lower at 10.
DEPTH, LEFT, RIGHT = 0.035, 0.92, 0.44
SCORE, LOSS_INTERPRETING = 0.75, 1.0


def planted_score(ratio: float, optimum: float) -> float:
    """A smooth single peak over log-ratio, steeper to the left; no polynomial in any coordinate."""
    x = float(np.log(ratio / optimum))
    return float(SCORE - DEPTH * (1 - 1 / np.cosh(x * (LEFT if x < 0 else RIGHT))))


class RehearsedTraining:
    """A `Training` that takes as long as its rows would, and ends with a planted score plus noise
    that depends on the ratio and the seed alone."""

    def __init__(
        self,
        search: Search,
        optimum: float,
        ratio: float,
        mixture: Mixture,
        sizes: Mapping[str, int],
        seed: int,
    ):
        assert search.rehearsal is not None
        self.settings = search.rehearsal
        self.mixture = mixture
        chance = np.random.default_rng([seed, *np.array([ratio]).view(np.uint32)])
        # A plateau ends a real trial somewhere before its longest.
        self.steps = max(1, round(search.longest(mixture.total) * chance.uniform(0.4, 1.0)))
        self.seconds = self.steps * search.training.batch_size / self.settings.rows_per_second
        planted = planted_score(ratio, optimum)
        # The losses fall where the score rises, and have no noise.
        interpreting = LOSS_INTERPRETING + SCORE - planted
        scoring = self.settings.loss_ratio * interpreting
        self.losses = {"scoring": scoring, "interpreting": interpreting}
        self.score = planted + self.settings.noise * chance.normal()
        self.plan_sha256 = plan_epoch(mixture, sizes, 0, seed, search.training.batch_size).sha256
        self.batch_size = search.training.batch_size
        self.evaluations = 0
        self.lines: list[StepLine] = []  # nothing is computed

    def advance(self) -> bool:
        """Wait for one evaluation's share of the time; True when the training has ended."""
        time.sleep(self.seconds / EVALUATIONS)
        self.evaluations += 1
        return self.evaluations >= EVALUATIONS

    def latest(self) -> Latest:
        steps = self.steps * self.evaluations // EVALUATIONS
        return Latest(steps, steps * self.batch_size, self.losses)

    def result(self) -> TrialMetrics:
        return TrialMetrics(
            losses=self.losses,
            accuracy=self.score,
            probability=self.score,
            srcc=self.score,
            plcc=self.score,
            steps=self.steps,
            best_step=self.steps,
            stopped="plateau",
            plan_sha256=self.plan_sha256,
            looks=tuple(Look(epochs, self.losses) for epochs in range(1, EVALUATIONS + 1)),
        )

    def snapshot(self) -> Callable[[Path], None]:
        evaluations = self.evaluations
        return lambda folder: artifacts.write_json(folder / "rehearsal.json", evaluations)

    def load(self, folder: Path) -> None:
        self.evaluations = artifacts.read_json(folder / "rehearsal.json")
