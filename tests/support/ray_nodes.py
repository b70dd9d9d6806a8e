"""A Ray cluster of several nodes on this machine: raylets, each in its own process group.

Nothing here ends a process that it did not start, so it may run beside other clusters.
"""

import contextlib
import json
import os
import re
import subprocess
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from qsit_ray.evaluation.studies.own_head import RAY, Head, free_port, own_head

# A dead node is found within seconds, not half a minute.
QUICK = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_worker_niceness": "0",
}


@dataclass
class Node:
    """`process` is `ray start --block`, whose descendants are the node."""

    process: subprocess.Popen
    cpus: int
    labels: str
    place: str
    """Its IP address."""

    def all(self):
        """Its processes, the raylet and workers among them."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def named(self, name):
        """Processes of Ray workers whose actor's or task's name begins so."""
        return [process for process in self.all() if _name(process).startswith(name)]

    def die(self):
        """As when the power goes: no process of it does anything any longer."""
        if self.process.poll() is not None:
            return
        processes = [psutil.Process(self.process.pid), *self.all()]
        for process in processes:  # none may react to the death of another
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


@dataclass
class Cluster:
    """A head without CPUs, and nodes."""

    head: Head
    own: dict[str, str]
    kinds: tuple = ()
    """(CPUs, labels) of the nodes that belong to it."""
    nodes: list[Node] = field(default_factory=list)
    places: int = 0

    @property
    def environment(self):
        """Of a command that joins it."""
        ours = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        return ours | self.head.environment | self.own | {"RAY_ADDRESS": self.head.address}

    def add(self, cpus, labels):
        """Start a node and return it once the head counts it."""
        command = [RAY, "start", f"--address={self.head.address}", "--block", f"--num-cpus={cpus}"]
        command += ["--num-gpus=0", f"--labels={labels}", "--object-store-memory=100000000"]
        # Of its own, on loopback: a driver joins the node that has its address.
        self.places += 1
        place = f"127.0.1.{self.places}"
        command += [f"--node-ip-address={place}"]
        command += [f"--dashboard-agent-listen-port={free_port()}"]
        process = subprocess.Popen(
            command,
            env=self.environment | QUICK,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.nodes.append(node := Node(process, cpus, labels, place))
        self.settle()
        return node

    def complete(self):
        """Start the nodes that are missing."""
        self.settle()
        missing = Counter(self.kinds) - Counter((node.cpus, node.labels) for node in self.nodes)
        for cpus, labels in missing.elements():
            self.add(cpus, labels)

    def settle(self, patience=120.0):
        """Wait until the head counts the nodes that there are."""
        until = time.monotonic() + patience
        while len(self.alive()) != 1 + len(self.nodes):
            assert all(node.process.poll() is None for node in self.nodes), "a node ended"
            assert time.monotonic() < until, "the head counts other nodes than there are"
            time.sleep(0.2)

    def alive(self):
        """IP address and id of the nodes that are alive as the head sees it."""
        # By the dashboard: within a process Ray's clients keep the first token that they read.
        token = Path(self.head.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
        ask = urllib.request.Request(
            f"{self.head.dashboard}/api/v0/nodes", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(ask, timeout=30) as reply:
            nodes = json.load(reply)["data"]["result"]["result"]
        return {node["node_ip"]: node["node_id"] for node in nodes if node["state"] == "ALIVE"}

    def id(self, node):
        """Ray's name for a node."""
        return self.alive()[node.place]

    def lose(self, node, gently=False):
        """Kill a node; `gently` by SIGTERM, as at the end of a notice."""
        self.nodes.remove(node)
        if gently:
            node.process.terminate()
            node.process.wait()
        node.die()

    def die(self):
        """Kill the head and all nodes at once."""
        for node in (Node(self.head.process, 0, "", ""), *self.nodes):
            node.die()
        self.nodes.clear()

    def nodes_with(self, name):
        """Nodes with a process whose actor or task begins so."""
        return [node for node in self.nodes if node.named(name)]

    def named(self, name):
        """Processes of workers on the nodes and on the head whose actor or task begins so."""
        head = Node(self.head.process, 0, "", "")
        return [process for node in (head, *self.nodes) for process in node.named(name)]


def _name(process):
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return re.sub(r"^ray::", "", " ".join(process.cmdline()))
    return ""


@contextlib.contextmanager
def cluster(environment, *nodes):
    """A head and nodes of (CPUs, labels), all of which end with the context.

    `environment` is that of the nodes and of commands.
    """
    with own_head(environment=QUICK) as head:
        there = Cluster(head, environment, nodes)
        try:
            there.complete()
            yield there
        finally:
            for node in list(there.nodes):
                there.lose(node)
