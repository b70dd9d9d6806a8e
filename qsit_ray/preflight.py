"""pure: whether this machine has the memory and disk that a run asks for, before it starts."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil

from qsit_ray.config import Config, DemoData
from qsit_ray.errors import InputError

GIB = 2**30

# Measured on the demo: a Python process with torch and transformers, and Ray's own processes.
PROCESS_GIB = 0.7
RAY_GIB = 1.5
# A row's image and text, and a run's models, logs and checkpoints.
ROW_BYTES = 20_000
RUN_GIB = 1.0


# Trials that a rehearsal holds at once where there is no cluster; they only wait.
REHEARSED_AT_ONCE = 4


def processes(config: Config, cores: int) -> int:
    """Processes of one CPU each that the run's widest stage holds at once."""
    if config.search.rehearsal is not None:
        return REHEARSED_AT_ONCE
    trials = max(1, int(cores / config.search.cpus_per_trial))
    # Training workers, and two more CPUs or Ray Data's tasks would wait for ever.
    return max(trials, config.train.workers + 2)


def check(config: Config, folder: Path, cores: int) -> None:
    """Raises InputError when memory or disk is less than the run needs."""
    needed = RAY_GIB + PROCESS_GIB * processes(config, cores)
    free = psutil.virtual_memory().available / GIB
    if free < needed:
        raise InputError(f"memory: {free:.1f} GiB free, the run needs about {needed:.1f} GiB")
    data = config.data
    rows = 0
    if isinstance(data, DemoData):  # other sources' images stay where they are
        rows = data.scoring + data.interpreting + data.general + data.test_images
    needed = RUN_GIB + rows * ROW_BYTES / GIB
    existing = next(parent for parent in [folder, *folder.resolve().parents] if parent.exists())
    free = shutil.disk_usage(existing).free / GIB
    if free < needed:
        raise InputError(f"disk of {folder}: {free:.1f} GiB free, the run needs {needed:.1f} GiB")
