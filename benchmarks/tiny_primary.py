"""rim: training throughput of the demo's primary in one process."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures import Found, Goal
from benchmarks.throughput import tiny

TEXT = "training throughput, tiny primary, one process"
GOALS = {"warm": Goal(1.3), "cold": Goal(1.3), "limit": Goal(0.97)}


def run(smoke: bool, folder: Path) -> Found:
    return tiny("primary", 96, GOALS, smoke, folder)
