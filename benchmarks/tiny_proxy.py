"""rim: training throughput of the demo's proxy in one process."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures import Found, Goal
from benchmarks.throughput import tiny

TEXT = "training throughput, tiny proxy, one process"
GOALS = {"warm": Goal(2.0), "cold": Goal(2.0), "limit": Goal(0.97)}


def run(smoke: bool, folder: Path) -> Found:
    return tiny("proxy", 192, GOALS, smoke, folder)
