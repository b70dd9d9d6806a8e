"""rim: one proxy training as a Tune trial; its process is reused by the next."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from qsit_ray import artifacts
from qsit_ray.config.config import Config
from qsit_ray.data.catalog import read_sizes
from qsit_ray.mixture import Mixture
from qsit_ray.search.records import (
    Attempts,
    Point,
    attempts_file,
    checkpoint_folder,
    model_folder,
    outcome_file,
)


@dataclass(frozen=True)
class Task:
    """What all trials of one search share. `mixture_at` takes a ratio to the trial's rows."""

    config: Config
    catalog: Path
    features: Path
    base: str
    folder: Path
    mixture_at: Callable[[float], Mixture]
    objective: str
    optimum: float | None = None  # where a rehearsal's planted curve peaks
    keep_models: bool = False


def point_of(config: dict[str, Any]) -> Point:
    """The ratio and the seed in a trial's Tune configuration."""
    return config["point"]["ratio"], config["point"]["seed"]


class Trial(tune.Trainable):
    """Trains the proxy at the ratio and with the seed of `config["point"]`, one look at a time.

    Each look leaves a checkpoint, which the trial goes on from wherever it is started again; the
    outcome takes the place of the last.
    """

    def setup(self, config: dict[str, Any], task: Task) -> None:
        self.task = task
        self.bench: Any = None
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._take(new_config)
        return True

    def _take(self, config: dict[str, Any]) -> None:
        self.ratio, self.seed = point_of(config)
        self.training: Any = None
        self.attempts: Attempts | None = None
        self.seconds = 0.0
        self.checkpoint = checkpoint_folder(self.task.folder, self.ratio, self.seed)

    def step(self) -> dict[str, Any]:
        path = outcome_file(self.task.folder, self.ratio, self.seed)
        if path.exists():
            return {**artifacts.read_json(path), "done": True}
        began = time.monotonic()
        if self.attempts is None:
            self.attempts = Attempts(attempts_file(self.task.folder, self.ratio, self.seed))
        try:
            if self.training is None:
                self._begin()
            ended = self.training.advance()
            if ended:
                outcome = self._outcome(began)
                artifacts.write_json(path, outcome)
                artifacts.remove(self.checkpoint)
                self.attempts.end("completed")
                return {**outcome, "done": True}
            self.seconds += time.monotonic() - began
            self._save()
        except Exception:
            self.attempts.end("failed")
            raise
        return {"done": False}

    def cleanup(self) -> None:
        if self.attempts is not None:
            self.attempts.end("stopped")

    def _begin(self) -> None:
        self.training = self._training()
        if artifacts.whole(self.checkpoint):
            with artifacts.local(self.checkpoint) as folder:
                self.training.load(folder)
                self.seconds = artifacts.read_json(folder / "seconds.json")

    def _save(self) -> None:
        assert self.attempts is not None
        with artifacts.atomic(self.checkpoint) as temporary:
            temporary.mkdir()
            self.training.save(temporary)
            artifacts.write_json(temporary / "seconds.json", self.seconds)
        self.attempts.checkpoint()

    def _training(self) -> Any:
        task, mixture = self.task, self.task.mixture_at(self.ratio)
        # Seeds of two runs never meet: a run's seed moves all of its trials' seeds.
        seed = task.config.seed * 1000 + self.seed
        if task.config.search.rehearsal is not None:
            from qsit_ray.search.rehearsal import RehearsedTraining

            optimum, sizes = task.optimum or self.ratio, read_sizes(task.catalog)
            return RehearsedTraining(task.config.search, optimum, self.ratio, mixture, sizes, seed)
        from qsit_ray.search.training import Bench, ProxyTraining

        if self.bench is None:
            self.bench = Bench(task.config, task.catalog, task.base, task.features)
        return ProxyTraining(self.bench, mixture, seed)

    def _outcome(self, began: float) -> dict[str, Any]:
        from qsit_ray.search.trials import objective

        metrics = self.training.result()
        if self.task.keep_models and self.bench is not None:
            from qsit_ray.models import load

            kept = model_folder(self.task.folder, self.ratio, self.seed)
            with artifacts.atomic(kept) as temporary:
                load.save(self.bench.model, self.bench.checkpoint.processor, temporary)
        self.seconds += time.monotonic() - began
        counts = self.training.mixture.counts()
        return {
            "ratio": self.ratio,
            "seed": self.seed,
            **{f"rows_{domain}": rows for domain, rows in counts.items()},
            "score": objective(self.task.objective, metrics),
            **metrics,
            "device_seconds": round(self.seconds, 3),
        }

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Trials keep checkpoints of their own: Tune's list of them lags behind by seconds."""
