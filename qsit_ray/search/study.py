"""pure: a search as an ordinary optuna study in the run folder, which optuna-dashboard opens."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qsit_ray.config.search import Space
from qsit_ray.search.trials import TrialOutcome

if TYPE_CHECKING:
    from optuna import Study

ATTRIBUTES = (
    "loss_scoring", "loss_interpreting", "accuracy", "probability", "srcc", "plcc", "steps",
    "device_seconds",
)  # fmt: skip

logger = logging.getLogger(__name__)


class SearchStudy:
    """The study of one axis in the journal file `path`: its name is the axis, it maximises the
    score, and its parameters are `ratio` and `seed`.

    It has one trial for each that has ended. One that failed, or has no score, is FAIL.
    """

    def __init__(self, path: Path, space: Space):
        self.path, self.space = path, space
        self.study: Study | None = None

    def rebuild(self, outcomes: Iterable[TrialOutcome]) -> None:
        """Replace the file by a study of `outcomes`: trials recorded before an interruption must
        not occur twice."""
        self.study = None
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

    def add(self, outcome: TrialOutcome) -> None:
        """Append one trial that has ended."""
        if self.study is None:
            return
        from optuna.distributions import FloatDistribution, IntDistribution
        from optuna.trial import TrialState, create_trial

        ratios, seeds = self.space.ratios, self.space.seeds
        with self._optional():
            trial = create_trial(
                state=TrialState.FAIL if outcome.score is None else TrialState.COMPLETE,
                value=outcome.score,
                params={"ratio": outcome.ratio, "seed": outcome.seed},
                distributions={
                    "ratio": FloatDistribution(min(ratios), max(ratios), log=True),
                    "seed": IntDistribution(min(seeds), max(seeds)),
                },
                user_attrs={k: v for k in ATTRIBUTES if (v := getattr(outcome, k)) is not None},
            )
            self.study.add_trial(trial)

    @contextmanager
    def _optional(self) -> Iterator[None]:
        # The study is a copy of the outcome files for optuna's tools, made again at the next start:
        # hours of training must not end because it can't be written.
        try:
            yield
        except Exception:
            logger.warning("%s: the study was not written", self.path, exc_info=True)
