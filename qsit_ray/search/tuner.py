"""rim: a search through Tune: the trials of a grid, or of adaptive rounds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune.execution import class_cache
from ray.tune.search import Searcher

from qsit_ray import artifacts
from qsit_ray.config.search import Adaptive, Search
from qsit_ray.errors import InputError
from qsit_ray.losses import apart, symbol
from qsit_ray.placement import trial
from qsit_ray.search.estimate import longest_first
from qsit_ray.search.gauges import SearchGauges
from qsit_ray.search.progress import Progress
from qsit_ray.search.records import (
    attempted,
    finished,
    kept_seconds,
    lost_seconds,
    outcome_file,
    point_name,
    wasted_seconds,
)
from qsit_ray.search.study import SearchStudy
from qsit_ray.search.trial import INPUT_ERROR, Trial, TunePoint, point_of
from qsit_ray.search.trials import Point, Task, TrialOutcome
from qsit_ray.session import concurrency, labels_of
from qsit_ray.terminal import Bar

if TYPE_CHECKING:
    from qsit_ray.search.adaptive import Observed, Rounds

TUNE = "tune"
LEAST_RATIOS = 3
"""Ratios with a score from which a best one is told."""
ALMOST_NOTHING = {"memory": 1.0}  # in bytes; Tune refuses a request for nothing

# Tune would copy the driver's AWS credentials into the trials' runtime environment, which Ray
# writes to its logs. A cluster's nodes have credentials of their own; on one machine all processes
# inherit the driver's.
class_cache.ENV_VARS_TO_PROPAGATE = {
    name for name in class_cache.ENV_VARS_TO_PROPAGATE if not name.startswith("AWS_")
}

logger = logging.getLogger(__name__)


class RoundSearcher(Searcher):
    """Suggests the points of each round from the scores of all earlier ones.

    `Rounds.propose` is a pure function and scores are read from the trials' own outcome files: a
    search that starts again after an interruption suggests the same points in the same order.
    """

    def __init__(self, rounds: Rounds, folder: Path):
        super().__init__()
        self.rounds = rounds
        self.folder = folder
        self.points: list[Point] = []
        self.waiting: list[Point] = []
        self.running: set[str] = set()

    def suggest(self, trial_id: str) -> dict[str, TunePoint] | str | None:
        if not self.waiting:
            if self.running:
                return None  # the next round depends on the last trials of this one
            self.waiting = self.rounds.propose(self.observed())
            self.points += self.waiting
            if not self.waiting:
                return Searcher.FINISHED
        ratio, seed = self.waiting.pop(0)
        self.running.add(trial_id)
        return {"point": {"ratio": ratio, "seed": seed}}

    def observed(self) -> list[Observed]:
        """(ratio, seed, score) of all points so far; a trial that failed has no score."""
        done = finished(self.folder)
        return [(*point, done[point].score if point in done else None) for point in self.points]

    def on_trial_complete(self, trial_id: str, result: object = None, error: bool = False) -> None:
        self.running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: see the class."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""


class ShowProgress(tune.Callback):
    """Moves the bar, and fills the study and the metrics, as trials report and end.

    Tune pickles its callbacks, in its own state too; the values of this process are therefore
    attributes of the class.
    """

    bar: Bar
    study: SearchStudy | None
    task: Task
    gauges: SearchGauges
    progress: Progress
    scores: dict[Point, float]
    whole: tuple[float, float]
    """The least ratio and the greatest."""
    reasons: dict[Point, str]
    """Of failed trials, which Tune's results do not know where a trial reported nothing."""
    note: str = ""
    mistake: str | None = None  # the user's, as a trial reported it

    @classmethod
    def begin(cls, task: Task, bar: Bar, study: SearchStudy | None) -> None:
        cls.task, cls.bar, cls.study = task, bar, study
        devices = task.config.search.gpus_per_trial
        cls.gauges = SearchGauges(task.run.path.name, task.search, devices)

    @classmethod
    def start(cls, points: Sequence[Point] | Rounds) -> None:
        """Count the trials that have finished, and write the study of them."""
        done = finished(cls.task.folder)
        if isinstance(points, Sequence):
            asked = {point: done[point] for point in points if point in done}
            ratios = [ratio for ratio, _ in points]
            cls.whole = min(ratios), max(ratios)
            cls.progress = Progress(len(points), cls.task.longest, points, asked)
        else:
            cls.progress = Progress(points.settings.trials, cls.task.longest, ended=dict(done))
            cls.whole = points.low, points.high
        unreported = {point_name(*point) for point in done}
        cls.progress.wasted = wasted_seconds(cls.task.folder, unreported)
        cls.mistake, cls.note, cls.reasons = None, "", {}
        cls.scores = {p: row.score for p, row in done.items() if row.score is not None}
        if cls.study is not None:
            cls.study.rebuild(done.values())
        cls.gauges.set(cls.progress)
        if cls.progress.ended:
            cls._show("finished before")

    @classmethod
    def _show(cls, note: str, figures: str = "") -> None:
        states = cls.progress.states()
        told = [f"{states[s]} {s}" for s in ("running", "waiting", "failed") if states[s]]
        cls.bar.update(
            len(cls.progress.ended),
            cls.progress.total,
            note,
            ", ".join([text for text in (figures, *told) if text]),
            cls.progress.seconds_left(),
        )

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        point = point_of(trial.config)
        if point not in self.progress.ended:
            self.progress.start(point)
            self.gauges.set(self.progress)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
    ) -> None:
        if result.get("done") or "loss" not in result:
            return
        point, steps = point_of(trial.config), result["steps"]
        self.progress.report(point, steps, result["seconds"])
        self.gauges.set(self.progress)
        if self.study is not None:
            self.study.report(point, steps, result["loss"])
        found, _ = apart(result)
        losses = ", ".join(f"{symbol(task)} {loss:.3f}" for task, loss in found.items())
        self._show(self.note, f"{_name(trial)}: step {steps}, {losses}")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        point = point_of(trial.config)
        self.progress.stop(point)
        self._count_lost(point)

    def _count_lost(self, point: Point, running: bool = False, failed: bool = False) -> None:
        folder = self.task.folder
        try:
            lost = lost_seconds(folder, point, running)
            # What a failed trial would resume from is of no use so far.
            kept = kept_seconds(folder, point) if failed else 0.0
            self.progress.wasted[point_name(*point)] = lost + kept
        except Exception:  # of a store that does not answer: no reason to end a search
            logger.warning("%s: the seconds lost were not read", folder, exc_info=True)
        self.gauges.set(self.progress)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if mistake := trial.last_result.get(INPUT_ERROR):
            type(self).mistake = mistake
            return
        outcome = TrialOutcome.from_json({**trial.last_result, **trial.config["point"]})
        self._end(outcome, "no score" if outcome.score is None else f"score {outcome.score:.3f}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        point = point_of(trial.config)
        if error := trial.get_error():
            self.reasons[point] = str(error).strip().splitlines()[-1]
        self._end(TrialOutcome(*point, status="failed"), "failed")

    def _end(self, outcome: TrialOutcome, note: str) -> None:
        # A trial that finished before an interruption ends again at once, from its file.
        if outcome.point not in self.progress.ended:
            if self.study is not None:
                self.study.add(outcome)
            failed = outcome.status == "failed"
            self.progress.end(outcome)
            self._count_lost(outcome.point, running=not failed, failed=failed)
        if outcome.score is not None:
            self.scores[outcome.point] = outcome.score
        at = f"ratio {outcome.ratio:g} seed {outcome.seed}"
        type(self).note = f"{at}: {note}{self._standing()}"
        self._show(self.note)

    def _standing(self) -> str:
        """The best ratio so far and what it may lose, once three ratios have scores; of a grid also
        whether that is little enough to stop."""
        ratios = [ratio for ratio, _ in self.scores]
        # Only the trials of an axis have a study; others are not asked for a best ratio.
        if self.study is None or len(set(ratios)) < LEAST_RATIOS:
            return ""
        from qsit_ray.search.adaptive import standing  # lazily: optuna is slow to import

        best, left = standing(ratios, list(self.scores.values()), *self.whole, 0)
        text = f"; best so far {best:.3g}, which loses at most {left:.2g}"
        search = self.task.config.search
        if search.adaptive is None and left <= Adaptive().tolerance:
            text += ": enough is known to stop the search and `qsit search end` it"
        return text


class StopAtMistake(tune.Stopper):
    """Ends the search when a trial has reported a mistake of the user's."""

    def __call__(self, trial_id: str, result: object) -> bool:
        return False

    def stop_all(self) -> bool:
        return ShowProgress.mistake is not None


def run_search(
    task: Task, points: Sequence[Point] | Rounds, bar: Bar, study: SearchStudy | None = None
) -> list[TrialOutcome]:
    """Run the trials of a grid, the longest first, or of adaptive rounds; return their rows, in
    the order of `points` or as proposed.

    Finished trials have an outcome in a file of their own, so none runs twice, whichever process
    died. The row of a failed trial has the reason. Raises the InputError of a trial at once.
    """
    ShowProgress.begin(task, bar, study)
    most = task.config.search.max_failures
    asked: Sequence[Point] = []
    for repeat in range(1 + most):
        # Rounds always start again: finished trials answer from their files, so that no state of
        # the searcher has to be restored.
        if repeat or not isinstance(points, Sequence):
            artifacts.remove(task.folder / TUNE)
        ShowProgress.start(points)
        if isinstance(points, Sequence):
            asked = points
            (_restored(task) or _tuner(task, points)).fit()
        else:
            searcher = RoundSearcher(points, task.folder)
            _tuner(task, searcher).fit()
            asked = searcher.points
        if ShowProgress.mistake is not None:
            # Tune counts every trial as ended; once the mistake is mended, they must run.
            artifacts.remove(task.folder / TUNE)
            raise InputError(ShowProgress.mistake)
        done = finished(task.folder)
        # Where a reused process dies while it waits for its next trial, Tune counts that trial as
        # failed for good, though it was never started: such trials are run again.
        if all(point in done or attempted(task.folder, point) > most for point in asked):
            break
    for point in set(asked) - set(done):
        reason = ShowProgress.reasons.get(point, "no result")
        done[point] = TrialOutcome(
            *point, task.mixture_at(point[0]), status="failed", reason=reason
        )
    return [done[point] for point in asked]


def resources(search: Search) -> tune.PlacementGroupFactory:
    """What Tune asks Ray for to run one trial."""
    request = trial(search)
    labels = labels_of(request)
    return tune.PlacementGroupFactory(
        [dict(request.resources)], bundle_label_selector=[labels] if labels else None
    )


def _trainable(task: Task) -> Any:
    whole = resources(task.config.search)

    def asked(config: dict[str, TunePoint]) -> tune.PlacementGroupFactory:
        """A trial that finished before answers from its file: no GPU node must come for it."""
        finished_before = outcome_file(task.folder, *point_of(config)).exists()
        return tune.PlacementGroupFactory([ALMOST_NOTHING]) if finished_before else whole

    trainable = tune.with_resources(tune.with_parameters(Trial, task=task), asked)
    # Ray shows an actor by this name, which is with_resources.<locals>.ResourceTrainable else.
    trainable.__qualname__ = Trial.__qualname__
    return trainable


def _tuner(task: Task, points: Sequence[Point] | RoundSearcher) -> tune.Tuner:
    search = task.config.search
    # Rehearsed trials only wait; the GPUs they ask for limit them.
    limit = None if search.rehearsal else concurrency(search.cpus_per_trial)
    searcher, space, samples = None, None, 1
    if search.max_concurrent is not None:
        limit = min(limit or search.max_concurrent, search.max_concurrent)
    if isinstance(points, RoundSearcher):
        searcher, samples = points, points.rounds.settings.trials
        # Tune shows an autoscaler one waiting trial of a searcher, or as many as are allowed.
        batch = points.rounds.settings.batch
        limit = min(limit or batch, batch)
    else:
        # Tune starts the values of one grid search in the order given.
        order = longest_first(points, task.longest)
        listed = [{"ratio": ratio, "seed": seed} for ratio, seed in order]
        space = {"point": tune.grid_search(listed)}
    return tune.Tuner(
        _trainable(task),
        param_space=space,
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            max_concurrent_trials=limit,
            search_alg=searcher,
            num_samples=samples,
            trial_name_creator=_name,
            trial_dirname_creator=_folder_name,
        ),
        run_config=tune.RunConfig(
            name=TUNE,
            storage_path=str(task.folder),
            failure_config=tune.FailureConfig(max_failures=search.max_failures),
            callbacks=[ShowProgress()],
            stop=StopAtMistake(),
            verbose=0,
        ),
    )


def _name(trial: Any) -> str:
    """As the dashboard and Tune's tables show it: `ratio=2.42 seed=1`."""
    ratio, seed = point_of(trial.config)
    return f"ratio={ratio:g} seed={seed}"


def _folder_name(trial: Any) -> str:
    return _name(trial).replace(" ", ",")


def _restored(task: Task) -> tune.Tuner | None:
    """The interrupted Tuner of the task's folder; None where there is none to resume."""
    path = task.folder / TUNE
    if not tune.Tuner.can_restore(str(path)):
        return None
    try:
        return tune.Tuner.restore(
            str(path), _trainable(task), resume_unfinished=True, restart_errored=True
        )
    except Exception:
        # Tune writes its first state in place: a kill in that moment leaves half of it. Nothing
        # is lost with the folder, since finished trials have files of their own.
        logger.warning("%s: unreadable Tune state, the search starts again", path, exc_info=True)
        artifacts.remove(path)
        return None
