"""pure: a search as an ordinary optuna study in the run folder, which optuna-dashboard opens."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qsit_ray.config.search import Space
from qsit_ray.losses import keyed
from qsit_ray.search.trials import Point, TrialOutcome, watched_loss

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution

ATTRIBUTES = ("accuracy", "probability", "srcc", "plcc", "steps", "device_seconds")

logger = logging.getLogger(__name__)


class SearchStudy:
    """The study of one axis in the journal file `path`: its name is the axis, it maximises the
    score, and its parameters are `ratio` and `seed`.

    It has one trial for each that has reported an evaluation or ended: RUNNING until it ends, with
    the loss that decides the plateau at each evaluation, by optimiser step, as intermediate values.
    One that failed, or has no score, is FAIL.
    """

    def __init__(self, path: Path, space: Space):
        self.path, self.space = path, space
        self.study: Study | None = None
        self.running: dict[Point, Trial] = {}

    def rebuild(self, outcomes: Iterable[TrialOutcome]) -> None:
        """Replace the file by a study of `outcomes`: trials recorded before an interruption must
        not occur twice."""
        self.study, self.running = None, {}
        with self._optional():
            import optuna  # lazily: a quarter of a second
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend

            optuna.logging.set_verbosity(optuna.logging.WARNING)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for left in self.path.parent.glob(f"{self.path.name}*"):  # a kill leaves its lock too
                left.unlink()
            self.study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(self.path))),
                study_name=self.space.axis,
                direction="maximize",
            )
        for outcome in outcomes:
            self.add(outcome)

    def report(self, point: Point, step: int, loss: float) -> None:
        """Append an evaluation of a trial under way; one that is there is kept."""
        if self.study is None:
            return
        with self._optional():
            if point not in self.running:
                self.study.enqueue_trial({"ratio": point[0], "seed": point[1]})
                self.running[point] = self.study.ask(self._distributions())
            self._note(self.study, self.running[point], step, loss)

    def add(self, outcome: TrialOutcome) -> None:
        """Append one trial that has ended, or end the one under way."""
        if self.study is None:
            return
        from optuna.trial import TrialState, create_trial

        state = TrialState.FAIL if outcome.score is None else TrialState.COMPLETE
        values = {k: v for k in ATTRIBUTES if (v := getattr(outcome, k)) is not None}
        attributes = keyed(outcome.losses or {}) | values
        with self._optional():
            running = self.running.pop(outcome.point, None)
            if running is not None:
                for step, loss in [*_evaluations(outcome).items()][-1:]:
                    self._note(self.study, running, step, loss)
                for name, value in attributes.items():
                    running.set_user_attr(name, value)
                self.study.tell(running, outcome.score, state)
                return
            trial = create_trial(
                state=state,
                value=outcome.score,
                params={"ratio": outcome.ratio, "seed": outcome.seed},
                distributions=self._distributions(),
                user_attrs=attributes,
                intermediate_values=_evaluations(outcome),
            )
            self.study.add_trial(trial)

    def _note(self, study: Study, trial: Trial, step: int, loss: float) -> None:
        known = study.get_trials(deepcopy=False)[trial.number].intermediate_values
        if step not in known:
            trial.report(loss, step)

    def _distributions(self) -> dict[str, BaseDistribution]:
        from optuna.distributions import FloatDistribution, IntDistribution

        ratios, seeds = self.space.ratios, self.space.seeds
        return {
            "ratio": FloatDistribution(min(ratios), max(ratios), log=True),
            "seed": IntDistribution(min(seeds), max(seeds)),
        }

    @contextmanager
    def _optional(self) -> Iterator[None]:
        # The study is a copy of the outcome files for optuna's tools, made again at the next start:
        # hours of training must not end because it can't be written.
        try:
            yield
        except Exception:
            logger.warning("%s: the study was not written", self.path, exc_info=True)


def _evaluations(outcome: TrialOutcome) -> dict[int, float]:
    """The loss that decides the plateau at each evaluation of a trial that ended, by its step."""
    if not outcome.looks or outcome.steps is None or outcome.mixture is None:
        return {}
    pace = outcome.steps / outcome.looks[-1].epochs  # the last evaluation is after the last step
    return {
        round(look.epochs * pace): watched_loss(outcome.mixture, look.losses)
        for look in outcome.looks
    }
