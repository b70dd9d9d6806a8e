"""rim: one proxy training as a Tune trial; its process is reused by the next."""

from __future__ import annotations

import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, TypedDict

from ray import tune

from qsit_ray import artifacts
from qsit_ray.data.catalog import read_sizes
from qsit_ray.errors import InputError
from qsit_ray.losses import Losses, flat, ratio
from qsit_ray.search import records
from qsit_ray.search.trials import (
    Point,
    Task,
    Training,
    TrialMetrics,
    TrialOutcome,
    loss_score,
    score_of,
    watched_loss,
)

if TYPE_CHECKING:
    from qsit_ray.search.training import Bench


INPUT_ERROR = "input_error"  # the key of a result that reports a mistake of the user's


# Known at the end alone, as is the score unless losses decide it; Tune's progress.csv has the
# columns of a trial's first report.
UNKNOWN = dict.fromkeys(("score", "accuracy", "probability", "srcc", "plcc"), math.nan)


def _reported(task: Task, training: Training, seconds: float) -> dict[str, object]:
    """What Tune is told after each evaluation: losses, the score where losses decide it, steps,
    rows, and the seconds that the trial has held its device."""
    latest = training.latest()
    score = loss_score(task.objective, latest.losses)
    return {
        **flat(asdict(latest)),
        **_of_losses(training, latest.losses),
        **UNKNOWN,
        "score": math.nan if score is None else score,
        "seconds": round(seconds, 3),
    }


def _of_losses(training: Training, losses: Losses) -> dict[str, float]:
    """The loss that decides the plateau, and the ratio of both."""
    return {"loss": watched_loss(training.mixture, losses), "loss_ratio": ratio(losses)}


class TunePoint(TypedDict):
    """The point of a trial in its Tune configuration, `{"point": TunePoint}`."""

    ratio: float
    seed: int


def point_of(config: dict[str, TunePoint]) -> Point:
    return config["point"]["ratio"], config["point"]["seed"]


class Trial(tune.Trainable):
    """Trains the proxy at the point of its configuration, up to one evaluation a step.

    Evaluations leave a checkpoint, from which the trial resumes on any node; the outcome replaces
    the last one.
    """

    def setup(self, config: dict[str, TunePoint], task: Task) -> None:
        self.task = task
        self.bench: Bench | None = None
        self.writer = ThreadPoolExecutor(1)
        self.saving: Future[None] | None = None
        self._set_point(config)

    def reset_config(self, new_config: dict[str, TunePoint]) -> bool:
        self._set_point(new_config)
        return True

    def _set_point(self, config: dict[str, TunePoint]) -> None:
        self._give_up()  # on the checkpoint of a trial that has ended
        self.point = point_of(config)
        self.looks = 0
        self.training: Training | None = None
        self.attempts: records.Attempts | None = None
        self.seconds = 0.0
        self.checkpoint = records.checkpoint_folder(self.task.folder, *self.point)

    def __repr__(self) -> str:
        """As Ray's dashboard shows the actor, whose process is used for many trials."""
        return f"Trial({self.task.run.path.name}: {self.task.search})"

    def step(self) -> dict[str, object]:
        path = records.outcome_file(self.task.folder, *self.point)
        if path.exists():
            return {**records.read_outcome(path).to_json(), "done": True}
        started = time.monotonic()
        if self.attempts is None:
            self.attempts = records.Attempts(records.attempts_file(self.task.folder, *self.point))
        try:
            if self.training is None:
                self.training = self._start()
            ended = self.training.advance()
            lines = [line.to_json() for line in self.training.lines]
            artifacts.write_jsonl(records.steps_file(self.task.folder, *self.point), lines)
            if ended:
                self._give_up()  # on the checkpoint, which the outcome replaces
                metrics = self.training.result()
                outcome = self._outcome(self.training, metrics, started).to_json()
                artifacts.write_json(path, outcome)
                artifacts.remove(self.checkpoint)
                self.attempts.report("completed")
                # The best weights' losses in place of the last evaluation's.
                best = _of_losses(self.training, metrics.losses)
                reported = _reported(self.task, self.training, self.seconds)
                return {**reported, **outcome, **best, "done": True}
            self.seconds += time.monotonic() - started
            self.looks += 1
            if self.looks % self.task.config.search.checkpoint_every == 0:
                self._save(self.training, self.attempts)
        except InputError as error:
            # The user's mistake: Tune must not try again what would end in the same way.
            self._give_up()
            self.attempts.report("failed")
            return {INPUT_ERROR: str(error), "done": True}
        except Exception:
            self._give_up()
            self.attempts.report("failed")
            raise
        return {"done": False, **_reported(self.task, self.training, self.seconds)}

    def _save(self, training: Training, attempts: records.Attempts) -> None:
        """Write a checkpoint; on a GPU while training goes on."""
        self._settle()
        write, seconds, taken = training.snapshot(), self.seconds, time.monotonic()
        checkpoint = self.checkpoint

        def save() -> None:
            with artifacts.atomic(checkpoint) as temporary:
                temporary.mkdir()
                write(temporary)
                artifacts.write_json(temporary / "seconds.json", seconds)
            attempts.checkpoint(taken)

        if self.task.config.search.gpus_per_trial:
            self.saving = self.writer.submit(save)
        else:
            save()  # a copy of the state would need its memory twice

    def _settle(self) -> None:
        """Wait for the checkpoint that is being written. Raises what went wrong there."""
        saving, self.saving = self.saving, None
        if saving is not None:
            saving.result()

    def _give_up(self) -> None:
        """Wait for the checkpoint under way: the next attempt reads the same folder."""
        with suppress(Exception):
            self._settle()

    def cleanup(self) -> None:
        self.writer.shutdown()
        if self.attempts is not None:
            self.attempts.report("stopped")

    def _start(self) -> Training:
        task, search, (ratio, trial_seed) = self.task, self.task.config.search, self.point
        mixture = task.mixture_at(ratio)
        # Trials of two runs never share a seed: the run's moves all of its trials'.
        seed = task.config.seed * 1000 + trial_seed
        training: Training
        if search.rehearsal is not None:
            from qsit_ray.search.rehearsal import RehearsedTraining

            optimum, sizes = task.optimum or ratio, read_sizes(task.run.catalog)
            training = RehearsedTraining(search, optimum, ratio, mixture, sizes, seed)
        else:
            from qsit_ray.search.training import Bench, ProxyTraining

            self.bench = self.bench or Bench(task)
            training = ProxyTraining(self.bench, mixture, seed)
        if artifacts.is_written(self.checkpoint):
            with artifacts.local(self.checkpoint) as folder:
                training.load(folder)
                self.seconds = artifacts.read_json(folder / "seconds.json")
        return training

    def _outcome(self, training: Training, metrics: TrialMetrics, started: float) -> TrialOutcome:
        if self.task.keep_models and self.bench is not None:
            from qsit_ray.models import load, profiles

            kept = records.model_folder(self.task.folder, *self.point)
            with artifacts.atomic(kept) as temporary:
                load.save(self.bench.model, self.bench.checkpoint.processor, temporary)
                profiles.write(temporary, self.task.config.prompts)
        self.seconds += time.monotonic() - started
        score = score_of(self.task.objective, self.task.answers, metrics)
        return TrialOutcome(
            *self.point,
            training.mixture,
            score,
            **vars(metrics),
            device_seconds=round(self.seconds, 3),
        )

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, str]:
        return {}

    def load_checkpoint(self, checkpoint: object) -> None:
        """Trials keep checkpoints of their own: Tune's list of them is seconds behind."""
