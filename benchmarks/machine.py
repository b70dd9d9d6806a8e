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
    """`cores`: those that this process may use. `busy`: those that other work used just before;
    None where that was not measured."""

    processor: str
    cores: int
    memory_gib: float
    python: str
    busy: float | None
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def is_busy(self) -> bool:
        return self.busy is not None and self.busy > self.cores / 10

    def __str__(self) -> str:
        return (
            f"{self.processor}, {self.cores} cores, {self.memory_gib:.0f} GiB, "
            f"Python {self.python}, torch {self.versions['torch']}"
        )


def this_machine(seconds: float = 0.1) -> Machine:
    """This machine, and how busy it is in the next `seconds`, while this process waits."""
    everyone = psutil.cpu_count() or 1
    return Machine(
        _processor(),
        len(os.sched_getaffinity(0)),
        round(psutil.virtual_memory().total / 2**30, 1),
        platform.python_version(),
        round(psutil.cpu_percent(seconds) / 100 * everyone, 2),
        {name: version(name) for name in PACKAGES},
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
