"""pure: the files that trials leave in a search's folder, and the cost of their attempts.

outcomes/<trial>.json     the row of a finished trial, which never runs again
checkpoints/<trial>/      the state from which an interrupted trial resumes
attempts/<trial>.jsonl    one line an attempt: its end, and device seconds since a checkpoint
models/<trial>/           its model, where models are kept
steps/<trial>.jsonl       a line for each of its optimiser steps, up to its last evaluation
"""

from __future__ import annotations

import threading
import time
from collections.abc import Container, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.errors import InputError
from qsit_ray.search.trials import Point, TrialOutcome

FINAL_PROXIES = "final_proxies"
HEARTBEAT_SECONDS = 5.0


def folder_of(run: RunFolder, search: str, storage: str | None) -> Path:
    """The folder of the trials of an axis, or of the final proxies: in the run folder, or at the
    same place in `storage`."""
    root = artifacts.path_of(storage) if storage else run.path
    return root / "proxy" if search == FINAL_PROXIES else root / "search" / search


def point_name(ratio: float, seed: int) -> str:
    return f"ratio_{ratio!r}_seed_{seed}"


def outcome_file(folder: Path, ratio: float, seed: int) -> Path:
    return folder / "outcomes" / f"{point_name(ratio, seed)}.json"


def checkpoint_folder(folder: Path, ratio: float, seed: int) -> Path:
    return folder / "checkpoints" / point_name(ratio, seed)


def model_folder(folder: Path, ratio: float, seed: int) -> Path:
    return folder / "models" / point_name(ratio, seed)


def steps_file(folder: Path, ratio: float, seed: int) -> Path:
    return folder / "steps" / f"{point_name(ratio, seed)}.jsonl"


def attempts_file(folder: Path, ratio: float, seed: int) -> Path:
    return folder / "attempts" / f"{point_name(ratio, seed)}.jsonl"


def read_outcome(path: Path) -> TrialOutcome:
    """Raises InputError naming a file that can't be read."""
    content = artifacts.read_json(path)
    try:
        return TrialOutcome.from_json(content)
    except TypeError as error:
        raise InputError(f"{path}: not the outcome of a trial: {error}") from None


def finished(folder: Path) -> dict[Point, TrialOutcome]:
    """The outcomes of all trials of a search's folder that have finished."""
    rows = [read_outcome(path) for path in sorted((folder / "outcomes").glob("*.json"))]
    return {row.point: row for row in rows}


def attempted(folder: Path, point: Point) -> int:
    """Attempts at a trial so far."""
    path = attempts_file(folder, *point)
    return len(artifacts.read_jsonl(path)) if path.exists() else 0


def wasted_seconds(folder: Path, unreported: Container[str] = ()) -> dict[str, float]:
    """Device seconds of attempts that did not end well, by the trial's name.

    An attempt that did not report its end was killed, unless its trial is among `unreported`.
    """
    return {
        path.stem: _lost(path, path.stem in unreported)
        for path in sorted((folder / "attempts").glob("*.jsonl"))
    }


def lost_seconds(folder: Path, point: Point, running: bool) -> float:
    """Device seconds of one trial's attempts that did not end well; `running`: its last one is
    under way."""
    path = attempts_file(folder, *point)
    return _lost(path, running) if path.exists() else 0.0


def kept_seconds(folder: Path, point: Point) -> float:
    """Device seconds up to the checkpoint from which a trial would resume."""
    path = checkpoint_folder(folder, *point) / "seconds.json"
    return float(artifacts.read_json(path)) if path.exists() else 0.0


def _lost(path: Path, unreported: bool) -> float:
    ended_well = {"completed", "running"} if unreported else {"completed"}
    lines = artifacts.read_jsonl(path)
    return sum(float(line["device_seconds"]) for line in lines if line["ended"] not in ended_well)


@dataclass(frozen=True)
class TrialCost:
    """Device seconds of one trial: `used` by the attempt that completed, and `wasted`: by others
    after their last checkpoint."""

    ratio: float
    seed: int
    status: str
    used: float
    wasted: float


@dataclass(frozen=True)
class SearchCost:
    """Trials by status and device seconds of one search; `device_seconds` are those `used`.
    Seconds are of the scouts too, which are no trials."""

    completed: int
    failed: int
    device_seconds: float
    used: float
    wasted: float
    by_trial: list[TrialCost]

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def search_cost(folder: Path, rows: Iterable[TrialOutcome]) -> SearchCost:
    """The cost of the search in `folder`; `rows` are those of trials.parquet."""
    table = list(rows)
    # A last attempt that reported no end is lost where its trial failed. Otherwise it may still
    # run, or was killed after it had written its outcome.
    unreported = {point_name(*row.point) for row in table if row.status != "failed"}
    lost = wasted_seconds(folder, unreported)
    by_trial = [
        TrialCost(
            *row.point, row.status, row.device_seconds or 0.0, lost.get(point_name(*row.point), 0.0)
        )
        for row in table
    ]
    scouts = folder / "scouts"
    used = sum(trial.used for trial in by_trial)
    used += sum(row.device_seconds or 0.0 for row in finished(scouts).values())
    wasted = sum(trial.wasted for trial in by_trial) + sum(wasted_seconds(scouts).values())
    return SearchCost(
        completed=sum(row.status == "completed" for row in table),
        failed=sum(row.status == "failed" for row in table),
        device_seconds=used,
        used=used,
        wasted=wasted,
        by_trial=by_trial,
    )


class Attempts:
    """The attempts at one trial, the last of which is running.

    A heartbeat updates its line, so that a killed attempt leaves the seconds since its last
    checkpoint, which are lost.
    """

    def __init__(self, path: Path):
        self.path = path
        lines = artifacts.read_jsonl(path) if path.exists() else []
        self.lines = [
            {**line, "ended": "killed"} if line["ended"] == "running" else line for line in lines
        ]
        self.since = time.monotonic()
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self.report("running")
        threading.Thread(target=self._beat, daemon=True).start()

    def checkpoint(self, taken: float) -> None:
        """Time up to `taken`, of the monotonic clock, can no longer be lost."""
        self.since = taken

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            self.report("running")

    def report(self, state: Literal["running", "completed", "failed", "stopped"]) -> None:
        """Write the attempt's line; after its end nothing is written."""
        with self._writing:  # or a heartbeat could replace the end
            if self._ended.is_set():
                return
            if state != "running":
                self._ended.set()
            line = {"device_seconds": round(time.monotonic() - self.since, 3), "ended": state}
            artifacts.write_jsonl(self.path, [*self.lines, line])
