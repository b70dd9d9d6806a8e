"""pure: the machine that measured: processor, cores, memory, versions."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = ("torch", "transformers", "accelerate", "deepspeed", "ray", "numpy", "pandas", "scipy")


@dataclass(frozen=True)
class Machine:
    """`cores`: those that this process may use. `load`: processes that ran in the minute before."""

    processor: str
    cores: int
    memory_gib: float
    python: str
    load: float
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def is_busy(self) -> bool:
        return self.load > self.cores / 2

    def __str__(self) -> str:
        return (
            f"{self.processor}, {self.cores} cores, {self.memory_gib:.0f} GiB, "
            f"Python {self.python}, torch {self.versions['torch']}"
        )


def this_machine() -> Machine:
    return Machine(
        _processor(),
        len(os.sched_getaffinity(0)),
        round(psutil.virtual_memory().total / 2**30, 1),
        platform.python_version(),
        round(os.getloadavg()[0], 2),
        {name: version(name) for name in PACKAGES},
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
