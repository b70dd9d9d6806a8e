"""rim: a rehearsal on a cluster that grows and shrinks, whose nodes are on this machine.

Writes the section `autoscaling` of docs/CLUSTER.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qsit_ray.evaluation.studies.own_head import Head, own_head
from qsit_ray.evaluation.studies.sections import command_line, table, write_section

KINDS = {
    "proxy": {"resources": {"CPU": 1, "GPU": 1}, "labels": {"qsit": "proxy"}, "max_workers": 2},
    "primary": {"resources": {"CPU": 1, "GPU": 8}, "labels": {"qsit": "primary"}, "max_workers": 1},
}
SETTINGS = (
    "search.rehearsal.rows_per_second=400000",
    "mix={scoring: 1, interpreting: 4, general: 0.4}",
)
"""Three final proxies and the primary of the paper's preset, quickly."""
NODES = """
import json, sys, time
import ray
ray.init(log_to_driver=False, logging_level="ERROR")
while True:
    alive = [node["Labels"].get("qsit", "head") for node in ray.nodes() if node["Alive"]]
    print("nodes", json.dumps([time.time(), sorted(alive)]), flush=True)
    time.sleep(0.5)
"""
IDLE_SECONDS = 90.0
"""Patience with nodes that go once there is no work; the autoscaler's is six seconds."""


@dataclass(frozen=True)
class Observed:
    """A command on the cluster."""

    status: int
    printed: str
    nodes: Sequence[tuple[float, Mapping[str, int]]]
    """At each change the seconds since the command began, and the nodes of each kind."""

    def most(self, kind: str) -> int:
        return max(there.get(kind, 0) for _, there in self.nodes)


def rehearse(
    late: Mapping[str, float],
    settings: Sequence[str] = SETTINGS,
    kinds: Mapping[str, Mapping[str, object]] | None = None,
) -> Observed:
    """Rehearse on a head without CPUs, and count nodes until only the head is left."""
    with tempfile.TemporaryDirectory() as folder, own_head(0, kinds or KINDS, late) as head:
        began = time.time()
        environment = {**os.environ, **head.environment, "RAY_ADDRESS": head.address}
        watching = subprocess.Popen(
            [sys.executable, "-c", NODES], env=environment, stdout=subprocess.PIPE, text=True
        )
        try:
            done = _run(Path(folder) / "run", settings, environment)
            _wait_for_idle(head, environment)
        finally:
            watching.kill()  # at SIGTERM Ray prints a stack
        seen, _ = watching.communicate()
    changes: list[tuple[float, dict[str, int]]] = []
    told = [line for line in seen.splitlines() if line.startswith("nodes ")]  # Ray prints, too
    for line in told[:-1]:  # the last may be half a line
        at, kinds_there = json.loads(line.removeprefix("nodes "))
        count = {kind: kinds_there.count(kind) for kind in sorted({*kinds_there} - {"head"})}
        if not changes or changes[-1][1] != count:
            changes.append((at - began, count))
    return Observed(done.returncode, done.stdout + done.stderr, changes)


def _run(
    out: Path, settings: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    code = "from qsit_ray.cli.app import main; main()"
    words = [word for setting in settings for word in ("--set", setting)]
    return subprocess.run(
        [sys.executable, "-c", code, "run", "--preset", "rehearsal", "--out", str(out), *words],
        env=dict(environment),
        capture_output=True,
        text=True,
    )


def _wait_for_idle(head: Head, environment: Mapping[str, str]) -> None:
    """Until no node besides the head is there, or for `IDLE_SECONDS`."""
    until = time.monotonic() + IDLE_SECONDS
    count = "import ray; ray.init(log_to_driver=False); print(sum(n['Alive'] for n in ray.nodes()))"
    while time.monotonic() < until:
        done = subprocess.run(
            [sys.executable, "-c", count], env=dict(environment), capture_output=True, text=True
        )
        if done.stdout.strip() == "1":
            time.sleep(1.0)  # for the watcher to see it
            return
        time.sleep(2.0)


def write(out: Path, late: int) -> None:
    """Rehearse with a primary's node that comes `late` seconds after it is asked for."""
    found = rehearse({"proxy": 5.0, "primary": late})
    if found.status:
        raise RuntimeError(f"the rehearsal failed:\n{found.printed}")
    rows = [
        [f"{seconds:.0f}", _drawn(there.get("proxy", 0), 2), _drawn(there.get("primary", 0), 1)]
        for seconds, there in found.nodes
    ]
    stamped = [line for line in found.printed.splitlines() if "waiting" in line]
    said = [line.partition(" ")[2] for line in stamped]
    write_section(
        out,
        "autoscaling",
        f"By {command_line('autoscaling', str(out), late=late)}: the paper's rehearsal at a "
        "given mix, on nodes that are processes of one machine; a proxy's node comes 5 s after it "
        f"is asked for, the primary's {late} s after.",
        table(["seconds", "nodes for proxies", "nodes for the primary"], rows),
        "The command said meanwhile:\n\n```text\n" + "\n".join(said) + "\n```",
    )


def _drawn(there: int, most: int) -> str:
    """`■■` of two nodes, `■□` of one."""
    return "■" * there + "□" * (most - there)
