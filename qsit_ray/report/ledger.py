"""pure: the cost of a run: device-seconds by stage, search and trial, used and wasted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder, StageRecord
from qsit_ray.config.config import Config
from qsit_ray.search.estimate import PAPER_HOURS
from qsit_ray.search.records import FINAL_PROXIES, SearchCost, folder_of, search_cost
from qsit_ray.search.trials import read_trials


@dataclass(frozen=True)
class Ledger:
    """Completed stages by name, and the trials of each axis and of the final proxies.

    The totals add up stages alone: a search stage includes the device-seconds that its trials
    used. Time that killed or failed attempts used after their last checkpoint is wasted, and in
    no stage.
    """

    stages: dict[str, StageRecord]
    trials: dict[str, SearchCost]

    @property
    def device_seconds(self) -> float:
        return sum(stage.device_seconds for stage in self.stages.values())

    @property
    def wall_seconds(self) -> float:
        return sum(stage.wall_seconds for stage in self.stages.values())

    @property
    def search_seconds(self) -> float:
        """Device seconds that all trials used, those of the final proxies included."""
        return sum(search.device_seconds for search in self.trials.values())

    @property
    def primary_seconds(self) -> float:
        return self.stages["train"].device_seconds if "train" in self.stages else 0.0

    def to_json(self) -> dict[str, object]:
        """The content of ledger.json."""
        return {
            "stages": {
                name: {"wall_seconds": stage.wall_seconds, "device_seconds": stage.device_seconds}
                for name, stage in self.stages.items()
            },
            "trials": {name: search.to_json() for name, search in self.trials.items()},
            "device_seconds": self.device_seconds,
            "wasted_seconds": sum(search.wasted for search in self.trials.values()),
            "device_hours": {
                "search": self.search_seconds / 3600,
                "primary": self.primary_seconds / 3600,
            },
            "paper_gpu_hours": PAPER_HOURS,
        }


def write(run: RunFolder, config: Config) -> Ledger:
    """Write ledger.json, and return what `counted` finds, with its errors."""
    ledger = counted(run, config)
    artifacts.write_json(run.ledger, ledger.to_json())
    return ledger


def counted(run: RunFolder, config: Config) -> Ledger:
    """The cost of the stages and trials so far. Raises InputError naming a file that can't be
    read."""
    storage = config.search.storage
    tables: dict[str, Path] = {axis.name: run.trials(axis.name) for axis in config.axes}
    tables[FINAL_PROXIES] = run.path / "proxy" / "trials.parquet"
    trials = {
        name: search_cost(folder_of(run, name, storage), read_trials(table))
        for name, table in tables.items()
        if table.exists()
    }
    return Ledger(run.completed(), trials)
