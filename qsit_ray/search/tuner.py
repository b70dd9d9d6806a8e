"""rim: a grid of trials through Ray Tune; an interrupted one goes on where it was."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import tune

from qsit_ray import artifacts
from qsit_ray.search.trial import Point, Task, Trial, outcome_file, point_of
from qsit_ray.session import concurrency
from qsit_ray.terminal import Bar

logger = logging.getLogger(__name__)


class ShowProgress(tune.Callback):
    """Moves the bar as trials end.

    Tune pickles its callbacks; what belongs to this process stays on the class.
    """

    bar: Bar
    total: int
    ended: set[Point]

    @classmethod
    def on(cls, bar: Bar, task: Task, points: Sequence[Point]) -> ShowProgress:
        cls.bar, cls.total = bar, len(points)
        cls.ended = {point for point in points if outcome_file(task.folder, *point).exists()}
        if cls.ended:
            bar.update(len(cls.ended), cls.total, "finished before")
        return cls()

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._end(trial, f"score {trial.last_result.get('score') or 0:.3f}")

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._end(trial, "failed")

    def _end(self, trial: Any, what: str) -> None:
        ratio, seed = point_of(trial.config)
        self.ended.add((ratio, seed))
        self.bar.update(len(self.ended), self.total, f"ratio {ratio:g} seed {seed}: {what}")


def run_trials(
    task: Task, points: Sequence[Point], bar: Bar, experiment: str = "tune"
) -> tuple[dict[Point, dict[str, Any]], dict[Point, str]]:
    """Run the trials of `points` that have no outcome yet, started in that order.

    Returns outcomes and, for trials that failed, the reasons, by (ratio, seed). Finished trials
    leave their outcome in a file of their own, so none runs twice, whatever died.
    """
    search = task.config.search
    resources = {"cpu": search.cpus_per_trial, "gpu": search.gpus_per_trial}
    trainable = tune.with_resources(tune.with_parameters(Trial, task=task), resources)
    path = task.folder / experiment
    progress = ShowProgress.on(bar, task, points)
    tuner = _restored(path, trainable)
    if tuner is None:
        # Tune starts the values of one grid search in the order given.
        listed = [{"ratio": ratio, "seed": seed} for ratio, seed in points]
        tuner = tune.Tuner(
            trainable,
            param_space={"point": tune.grid_search(listed)},
            tune_config=tune.TuneConfig(
                reuse_actors=True,
                # Rehearsed trials only wait; the GPUs they ask for hold them back.
                max_concurrent_trials=None
                if search.rehearsal
                else concurrency(search.cpus_per_trial),
            ),
            run_config=tune.RunConfig(
                name=path.name,
                storage_path=str(task.folder),
                failure_config=tune.FailureConfig(max_failures=search.max_failures),
                callbacks=[progress],
                verbose=0,
            ),
        )
    grid = tuner.fit()
    outcomes = {
        point: artifacts.read_json(path)
        for point in points
        if (path := outcome_file(task.folder, *point)).exists()
    }
    reasons = {
        point_of(result.config): str(result.error).strip().splitlines()[-1]
        for result in grid
        if result.error and result.config
    }
    return outcomes, reasons


def _restored(path: Path, trainable: Any) -> tune.Tuner | None:
    """The interrupted Tuner of `path`; None when there is none to go on with."""
    if not tune.Tuner.can_restore(path):
        return None
    try:
        return tune.Tuner.restore(
            str(path), trainable, resume_unfinished=True, restart_errored=True
        )
    except Exception:
        # Tune writes its first state in place: a kill in that moment leaves half of it. Nothing
        # is lost with the folder, since finished trials have files of their own.
        logger.warning("%s: unreadable Tune state, begun anew", path, exc_info=True)
        shutil.rmtree(path)
        return None
