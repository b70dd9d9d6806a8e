"""pure: sides measured in turn, by wall and CPU seconds, those of child processes included."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Run:
    """One run of a side: its seconds, and what it returned."""

    wall: float
    cpu: float
    result: Any = None


Side = Callable[[], Run]
QSIT = (sys.executable, "-c", "from qsit_ray.cli.app import main; main()")
"""The command line of this checkout."""


def in_turn(sides: Mapping[str, Side], rounds: int) -> dict[str, list[Run]]:
    """The runs of each side. Every other round goes through them backwards, so that a machine that
    slows down or speeds up meanwhile favours none."""
    found: dict[str, list[Run]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in [*sides][:: -1 if number % 2 else 1]:
            found[name].append(sides[name]())
    return found


def walls(runs: Sequence[Run]) -> list[float]:
    return [run.wall for run in runs]


def cpus(runs: Sequence[Run]) -> list[float]:
    return [run.cpu for run in runs]


def timed(work: Callable[[], Any]) -> Run:
    """A run in this process."""
    cpu, wall = _cpu(), time.perf_counter()
    result = work()
    return Run(time.perf_counter() - wall, _cpu() - cpu, result)


def command(arguments: Sequence[str | Path], threads: int = 1) -> Run:
    """A run of a command, which returns what it printed.

    Raises RuntimeError with the end of what it printed when it fails.
    """
    return timed(lambda: _run([*map(str, arguments)], threads))


def fresh(
    function: str,
    arguments: Mapping[str, Any],
    threads: int = 1,
    processes: int = 1,
    inside: bool = False,
) -> Run:
    """A run of `module:function` in a fresh process, or in so many ranks of torchrun, of which rank
    0's result counts. Arguments and result are JSON. `inside`: in this process, where only the
    result is asked for.

    Raises RuntimeError as `command` does.
    """
    if inside:
        return timed(lambda: called(function, arguments))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        launcher = [sys.executable]
        if processes > 1:
            launcher += ["-m", "torch.distributed.run", "--standalone"]
            launcher += [f"--nproc-per-node={processes}"]
        call = ["-m", "benchmarks.child", function, json.dumps(arguments), str(out)]
        run = command([*launcher, *call], threads)
        return Run(run.wall, run.cpu, json.loads(out.read_text()))


def called(function: str, arguments: Mapping[str, Any]) -> Any:
    """The result of `module:function`."""
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)(**arguments)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def _run(arguments: list[str], threads: int) -> str:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "PYTHONWARNINGS": "ignore",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(arguments[:6])} ended with {done.returncode}: "
            f"{(done.stdout + done.stderr)[-3000:]}"
        )
    return done.stdout


def _cpu() -> float:
    """User and system seconds of this process and of the children that it has waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))
