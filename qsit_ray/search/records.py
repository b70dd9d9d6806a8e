"""pure: what the trials of a search leave in its folder: outcomes, models, and what attempts cost.

outcomes/<trial>.json     the row of a finished trial; one that is there is never run again
checkpoints/<trial>/      what a trial that was cut short goes on from
attempts/<trial>.jsonl    one line an attempt: its end, and device seconds since a checkpoint
models/<trial>/           its model, where models are kept
"""

from __future__ import annotations

import threading
import time
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder

Point = tuple[float, int]
FINAL_PROXIES = "final_proxies"

HEARTBEAT_SECONDS = 5.0


def folder_of(run: RunFolder, search: str, storage: str | None) -> Path:
    """Where the trials of an axis, or the final proxies, leave what they do: in the run folder, or
    in the same place below `storage`."""
    root = artifacts.place(storage) if storage else run.path
    return root / "proxy" if search == FINAL_PROXIES else root / "search" / search


def point_name(ratio: float, seed: int) -> str:
    return f"ratio_{ratio!r}_seed_{seed}"


def outcome_file(folder: Path, ratio: float, seed: int) -> Path:
    return folder / "outcomes" / f"{point_name(ratio, seed)}.json"


def checkpoint_folder(folder: Path, ratio: float, seed: int) -> Path:
    return folder / "checkpoints" / point_name(ratio, seed)


def model_folder(folder: Path, ratio: float, seed: int) -> Path:
    return folder / "models" / point_name(ratio, seed)


def attempts_file(folder: Path, ratio: float, seed: int) -> Path:
    return folder / "attempts" / f"{point_name(ratio, seed)}.jsonl"


def outcomes(folder: Path, points: Iterable[Point]) -> dict[Point, dict[str, Any]]:
    """The rows of those of `points` that have finished."""
    return {
        point: artifacts.read_json(path)
        for point in points
        if (path := outcome_file(folder, *point)).exists()
    }


def finished(folder: Path) -> dict[Point, dict[str, Any]]:
    """The rows of all trials of a search's folder that have finished."""
    rows = [artifacts.read_json(path) for path in sorted((folder / "outcomes").glob("*.json"))]
    return {(row["ratio"], row["seed"]): row for row in rows}


def attempted(folder: Path, point: Point) -> int:
    """How often a trial has been started on its own work."""
    path = attempts_file(folder, *point)
    return len(artifacts.read_jsonl(path)) if path.exists() else 0


def wasted_seconds(folder: Path, unsaid: Container[str] = ()) -> dict[str, float]:
    """Device seconds lost with attempts that did not end well, by the trial's name.

    An attempt that never said how it ended was killed, unless its trial is among `unsaid`.
    """
    lost = {}
    for path in sorted((folder / "attempts").glob("*.jsonl")):
        ended_well = {"completed", "running"} if path.stem in unsaid else {"completed"}
        lines = artifacts.read_jsonl(path)
        lost[path.stem] = sum(
            line["device_seconds"] for line in lines if line["ended"] not in ended_well
        )
    return lost


class Attempts:
    """The attempts at one trial, the last of which runs now.

    A heartbeat keeps its line fresh, so that an attempt that is killed leaves what it had used
    since its last checkpoint: that much is lost.
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
        self._note("running")
        threading.Thread(target=self._beat, daemon=True).start()

    def checkpoint(self) -> None:
        """Nothing up to here is lost any more."""
        self.since = time.monotonic()

    def end(self, how: str) -> None:
        """Close the line: `completed`, `failed` or `stopped`; the first word counts."""
        if self._ended.is_set():
            return
        with self._writing:
            self._ended.set()
            self._write(how)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            self._note("running")

    def _note(self, how: str) -> None:
        with self._writing:
            if not self._ended.is_set():
                self._write(how)

    def _write(self, how: str) -> None:
        seconds = round(time.monotonic() - self.since, 3)
        artifacts.write_jsonl(self.path, [*self.lines, {"device_seconds": seconds, "ended": how}])
