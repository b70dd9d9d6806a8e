"""pure: the state of a run's searches: trials by status, best ratios, cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.errors import InputError
from qsit_ray.search.records import SearchCost, finished, folder_of, search_cost
from qsit_ray.search.trials import TrialOutcome, read_trials
from qsit_ray.surrogate.comparison import Comparison


@dataclass(frozen=True)
class AxisSummary:
    """The trials of an axis; while it is searched, those not ended are `waiting`."""

    rows: list[TrialOutcome]
    cost: SearchCost
    fitted: Comparison | None

    @property
    def best_ratio(self) -> float | None:
        """The fit's ratio; before there is a fit, the ratio whose finished trials have the best
        mean, None without any."""
        if self.fitted is not None:
            return self.fitted.ratio
        scores: dict[float, list[float]] = {}
        for row in self.rows:
            if row.score is not None:
                scores.setdefault(row.ratio, []).append(row.score)
        return max(scores, key=lambda ratio: float(np.mean(scores[ratio])), default=None)

    @property
    def failures(self) -> list[TrialOutcome]:
        return [row for row in self.rows if row.status == "failed"]

    def to_json(self) -> dict[str, object]:
        return {
            "trials": dict(Counter(row.status for row in self.rows)),
            "best_ratio": self.best_ratio,
            "verdict": self.fitted.verdict if self.fitted else None,
            "device_seconds": {"used": self.cost.used, "wasted": self.cost.wasted},
            "failures": [
                {"ratio": row.ratio, "seed": row.seed, "reason": row.reason}
                for row in self.failures
            ],
        }


def summary(run: RunFolder, config: Config) -> dict[str, AxisSummary]:
    """The searches of a run. Raises InputError naming a file that can't be read."""
    return {axis.name: _axis(run, config, axis.name) for axis in config.searches}


def to_json(searches: Mapping[str, AxisSummary]) -> dict[str, object]:
    """The content of `qsit search show --json`: both axes together, and each."""
    return {
        "trials": dict(Counter(row.status for found in searches.values() for row in found.rows)),
        "best_ratio": {axis: found.best_ratio for axis, found in searches.items()},
        "device_seconds": {
            "used": sum(found.cost.used for found in searches.values()),
            "wasted": sum(found.cost.wasted for found in searches.values()),
        },
        "by_axis": {axis: found.to_json() for axis, found in searches.items()},
    }


def read_fit(run: RunFolder, axis: str) -> Comparison | None:
    """The fit of an axis, if there is one yet. Raises InputError for a file that can't be read."""
    path = run.fit(axis)
    if not path.exists():
        return None
    try:
        return Comparison.from_json(artifacts.read_json(path))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a fit of a search: {error}") from None


def _axis(run: RunFolder, config: Config, axis: str) -> AxisSummary:
    folder = folder_of(run, axis, config.search.storage)
    if run.trials(axis).exists():
        rows = read_trials(run.trials(axis))
    else:
        space, done = config.space(axis), finished(folder)
        grid = [(ratio, seed) for ratio in space.ratios for seed in space.seeds]
        # The next ratios of an adaptive search are not known yet.
        points = grid if config.search.adaptive is None else list(done)
        rows = [done.get(point, TrialOutcome(*point, status="waiting")) for point in points]
    return AxisSummary(rows, search_cost(folder, rows), read_fit(run, axis))
