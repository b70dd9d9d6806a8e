"""rim: one proxy training as a Tune trial; its process is reused by the next."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from qsit_ray import artifacts
from qsit_ray.config import Config
from qsit_ray.mixture import Mixture


@dataclass(frozen=True)
class Task:
    """What all trials of one search share. `mixtures` maps each ratio to its rows."""

    config: Config
    catalog: Path
    base: str
    folder: Path
    mixtures: dict[float, Mixture]
    objective: str
    keep_models: bool = False


def outcome_file(folder: Path, ratio: float, seed: int) -> Path:
    """Where a finished trial leaves its row; a trial that finds it there has been run already."""
    return folder / "outcomes" / f"ratio_{ratio!r}_seed_{seed}.json"


def model_folder(folder: Path, ratio: float, seed: int) -> Path:
    return folder / "models" / f"ratio_{ratio!r}_seed_{seed}"


class Trial(tune.Trainable):
    """Trains the proxy at `config["ratio"]` with `config["seed"]`, one look at a time."""

    def setup(self, config: dict[str, Any], task: Task) -> None:
        self.task = task
        self.bench: Any = None
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._take(new_config)
        return True

    def _take(self, config: dict[str, Any]) -> None:
        self.ratio, self.seed = config["ratio"], config["seed"]
        self.training: Any = None
        self.seconds = 0.0

    def step(self) -> dict[str, Any]:
        path = outcome_file(self.task.folder, self.ratio, self.seed)
        if path.exists():
            return {**artifacts.read_json(path), "done": True}
        began = time.monotonic()
        ended = self._train().advance()
        if not ended:
            self.seconds += time.monotonic() - began
            return {"done": False}
        outcome = self._outcome(began)
        artifacts.write_json(path, outcome)
        return {**outcome, "done": True}

    def _train(self) -> Any:
        from qsit_ray.models.proxy import Bench, ProxyTraining

        if self.bench is None:
            self.bench = Bench(self.task.config, self.task.catalog, self.task.base)
        if self.training is None:
            # Seeds of two runs never meet: a run's seed moves all of its trials' seeds.
            seed = self.task.config.seed * 1000 + self.seed
            self.training = ProxyTraining(self.bench, self.task.mixtures[self.ratio], seed)
        return self.training

    def _outcome(self, began: float) -> dict[str, Any]:
        from qsit_ray.models import load
        from qsit_ray.search.space import objective

        metrics = self.training.result()
        if self.task.keep_models:
            load.save(
                self.bench.model,
                self.bench.checkpoint.processor,
                model_folder(self.task.folder, self.ratio, self.seed),
            )
        self.seconds += time.monotonic() - began
        counts = self.task.mixtures[self.ratio].counts()
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
        """A trial cut short starts again: trials are short and the same each time."""
