"""pure: CPU seconds of the processes that this one has started, by what they do in Ray."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
import psutil

KINDS = {
    "RayTrainWorker": "ranks",
    "SplitCoordinator": "SplitCoordinator",
    "ray::ReadPlanSource": "tasks",
    "ray::FlatMap": "tasks",
    "ray::IDLE": "tasks",
    "ray::": "other actors",
    "raylet": "raylet",
    "gcs_server": "gcs_server",
}
"""Part of a process's name: what it does; the first that fits. Ray names a process after its
task or actor, and IDLE between two tasks."""
OTHER = "others"
EVERY = 1.0
"""Seconds between two samples."""


@dataclass
class Samples:
    """User and system seconds so far of this process's children and theirs, by kind, at moments in
    seconds since 1970."""

    times: list[float] = field(default_factory=list)
    used: list[dict[str, float]] = field(default_factory=list)
    seen: dict[int, float] = field(default_factory=dict)
    """Seconds of each process at the last sample."""

    def take(self) -> None:
        """Add a sample. What a process used since the last one is of its present kind."""
        used = dict(self.used[-1]) if self.used else {}
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                kind, times = _kind(process), process.cpu_times()
                seconds = times.user + times.system
                used[kind] = used.get(kind, 0.0) + seconds - self.seen.get(process.pid, 0.0)
                self.seen[process.pid] = seconds
        self.used.append(used)
        self.times.append(time.time())

    def between(self, start: float, end: float) -> dict[str, float]:
        """Seconds by kind between two moments, interpolated between the samples."""
        found = {}
        for kind in {kind for each in self.used for kind in each}:
            so_far = [each.get(kind, 0.0) for each in self.used]
            before, after = np.interp([start, end], self.times, so_far)
            found[kind] = float(after - before)
        return found


@contextmanager
def sampled() -> Iterator[Samples]:
    """Samples taken by a thread while the block runs."""
    samples, ended = Samples(), threading.Event()

    def sample() -> None:
        samples.take()
        while not ended.wait(EVERY):
            samples.take()

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def _kind(process: psutil.Process) -> str:
    name = (process.cmdline() or [process.name()])[0]
    return next((kind for part, kind in KINDS.items() if part in name), OTHER)
