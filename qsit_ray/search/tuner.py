"""rim: adaptive proposals through Tune: one round of trials after another, each seeing the last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from qsit_ray import artifacts
from qsit_ray.search.records import Point, attempted, outcome_file, outcomes
from qsit_ray.search.trial import Task, Trial, point_of
from qsit_ray.session import concurrency
from qsit_ray.terminal import Bar

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


TUNE = "tune"

logger = logging.getLogger(__name__)


class ShowProgress(tune.Callback):
    """Moves the bar as trials end.

    Tune pickles its callbacks; what belongs to this process stays on the class.
    """

    bar: Bar
    total: int
    ended: set[Point]

    @classmethod
    def on(cls, bar: Bar, task: Task, total: int, points: Sequence[Point] = ()) -> ShowProgress:
        cls.bar, cls.total = bar, total
        cls.ended = {point for point in points if outcome_file(task.folder, *point).exists()}
        if cls.ended:
            bar.update(len(cls.ended), cls.total, "finished before")
        return cls()

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        score = trial.last_result.get("score")
        self._end(trial, "no score" if score is None else f"score {score:.3f}")

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._end(trial, "failed")

    def _end(self, trial: Any, what: str) -> None:
        ratio, seed = point_of(trial.config)
        self.ended.add((ratio, seed))
        self.bar.update(len(self.ended), self.total, f"ratio {ratio:g} seed {seed}: {what}")


def run_trials(
    task: Task, points: Sequence[Point], bar: Bar
) -> tuple[dict[Point, dict[str, Any]], dict[Point, str]]:
    """Run the trials of `points` that have no outcome yet, started in that order.

    Returns outcomes and, for trials that failed, the reasons, by (ratio, seed). Finished trials
    leave their outcome in a file of their own, so none runs twice, whatever died.
    """
    progress = ShowProgress.on(bar, task, len(points), points)
    # Tune starts the values of one grid search in the order given.
    listed = [{"ratio": ratio, "seed": seed} for ratio, seed in points]
    for _ in range(1 + task.config.search.max_failures):
        tuner = _restored(task.folder / TUNE, _trainable(task))
        if tuner is None:
            tuner = _tuner(task, progress, param_space={"point": tune.grid_search(listed)})
        reasons = _reasons(tuner.fit())
        if not _given_up(task, points):
            break
        artifacts.remove(task.folder / TUNE)
    return outcomes(task.folder, points), reasons


def run_rounds(
    task: Task, propose: Callable[[Sequence[Observed]], list[Point]], most: int, bar: Bar
) -> tuple[dict[Point, dict[str, Any]], dict[Point, str], list[Point]]:
    """Run the trials that `propose` asks for, round after round, at the `most` that many.

    Returns as `run_trials`, and the points in order. An interrupted search is begun anew: finished
    trials answer from their files.
    """
    progress = ShowProgress.on(bar, task, most)
    for _ in range(1 + task.config.search.max_failures):
        artifacts.remove(task.folder / TUNE)
        rounds = Rounds(propose, task.folder)
        reasons = _reasons(_tuner(task, progress, search_alg=rounds, num_samples=most).fit())
        if not _given_up(task, rounds.points):
            break
    return outcomes(task.folder, rounds.points), reasons, rounds.points


def _given_up(task: Task, points: Sequence[Point]) -> list[Point]:
    """Trials that Tune ended too early.

    Where a reused process dies while it waits for its next trial, Tune counts that trial as failed
    for good, though it was never begun.
    """
    done = outcomes(task.folder, points)
    allowed = task.config.search.max_failures
    return [p for p in points if p not in done and attempted(task.folder, p) <= allowed]


def _trainable(task: Task) -> Any:
    search = task.config.search
    resources = {"cpu": search.cpus_per_trial, "gpu": search.gpus_per_trial}
    return tune.with_resources(tune.with_parameters(Trial, task=task), resources)


def _tuner(
    task: Task, progress: ShowProgress, param_space: dict[str, Any] | None = None, **how: Any
) -> tune.Tuner:
    search = task.config.search
    limit = concurrency(search.cpus_per_trial)
    if search.rehearsal:
        limit = None  # rehearsed trials only wait; the GPUs they ask for hold them back
    if search.adaptive is not None and "search_alg" in how:
        # Tune shows an autoscaler one waiting trial of a searcher, or as many as are allowed.
        limit = min(limit or search.adaptive.batch, search.adaptive.batch)
    return tune.Tuner(
        _trainable(task),
        param_space=param_space,
        tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=limit, **how),
        run_config=tune.RunConfig(
            name=TUNE,
            storage_path=str(task.folder),
            failure_config=tune.FailureConfig(max_failures=search.max_failures),
            callbacks=[progress],
            verbose=0,
        ),
    )


def _reasons(grid: tune.ResultGrid) -> dict[Point, str]:
    return {
        point_of(result.config): str(result.error).strip().splitlines()[-1]
        for result in grid
        if result.error and result.config
    }


def _restored(path: Path, trainable: Any) -> tune.Tuner | None:
    """The interrupted Tuner of `path`; None when there is none to go on with."""
    if not tune.Tuner.can_restore(str(path)):
        return None
    try:
        return tune.Tuner.restore(
            str(path), trainable, resume_unfinished=True, restart_errored=True
        )
    except Exception:
        # Tune writes its first state in place: a kill in that moment leaves half of it. Nothing
        # is lost with the folder, since finished trials have files of their own.
        logger.warning("%s: unreadable Tune state, begun anew", path, exc_info=True)
        artifacts.remove(path)
        return None
