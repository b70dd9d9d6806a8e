"""rim: a Ray head on loopback with a token of its own, in its own process group; with Ray's fake
autoscaler where asked, whose nodes are raylets on this machine.

Ray's own AutoscalingCluster ends every Ray process of the machine; this one ends its own.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import qsit_ray

RAY = Path(sys.executable).with_name("ray")
HEAD_ID = "f" * 51 + "00000"


@dataclass(frozen=True)
class Head:
    address: str
    """Of the GCS, as RAY_ADDRESS names it for a command of one's own."""
    dashboard: str
    environment: Mapping[str, str]
    """What a command needs to join, besides an address."""
    token: Path
    process: subprocess.Popen[bytes]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def autoscaling(
    kinds: Mapping[str, Mapping[str, Any]], late: Mapping[str, float], port: int
) -> dict[str, Any]:
    """The configuration of Ray's autoscaler with its fake provider. Of each kind of worker:
    resources, labels, max_workers; `late`: seconds until a node of a kind is there."""
    types = {
        name: {"node_config": {}, "min_workers": 0, "labels": {}, **kind}
        for name, kind in kinds.items()
    }
    for kind in types.values():
        kind["resources"] = {"object_store_memory": 10**8, **kind["resources"]}
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0, "labels": {}}
    empty_lists = (
        "initialization_commands",
        "setup_commands",
        "head_setup_commands",
        "worker_setup_commands",
        "head_start_ray_commands",
        "worker_start_ray_commands",
        "cluster_synced_files",
        "rsync_exclude",
        "rsync_filter",
    )
    return {
        "cluster_name": "fake",
        "max_workers": sum(kind["max_workers"] for kind in types.values()),
        "upscaling_speed": 10.0,
        "idle_timeout_minutes": 0.1,
        "provider": {
            # `fake_multinode` asks for a file that Ray's wheel lacks.
            "type": "external",
            "module": "qsit_ray.evaluation.studies.late_nodes.LateNodes",
            "seconds": dict(late),
            "gcs_address": f"127.0.0.1:{port}",
            "head_node_id": HEAD_ID,
            "launch_multiple": True,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "head_node_type": "ray.head.default",
        "available_node_types": {"ray.head.default": head, **types},
        **{name: [] for name in empty_lists},
    }


@contextmanager
def own_head(
    cpus: int = 0,
    kinds: Mapping[str, Mapping[str, Any]] | None = None,
    late: Mapping[str, float] | None = None,
    gpus: int = 0,
    programs: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Head]:
    """Start it, wait until it takes jobs, and end all its processes afterwards.

    `cpus` and `gpus` are logical; `programs`: folders that come first on its PATH; `environment`:
    variables of its processes alone.
    """
    port, web = free_port(), free_port()
    with ExitStack() as stack:
        # Short: Ray's sockets lie in it, and their paths may have 107 letters.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ray", dir="/tmp")))
        token = folder / "token"
        token.write_text(secrets.token_hex(32))
        path = f"{RAY.parent}:{os.environ['PATH']}"
        joining = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "PATH": path,
            # The provider's module, and workers of this tree.
            "PYTHONPATH": str(Path(qsit_ray.__file__).parents[1]),
        }
        command = [
            *(
                str(RAY),
                "start",
                "--head",
                "--block",
                f"--port={port}",
                "--node-ip-address=127.0.0.1",
            ),
            *(f"--num-cpus={cpus}", f"--num-gpus={gpus}", "--dashboard-host=127.0.0.1"),
            *(f"--dashboard-port={web}", f"--temp-dir={folder / 'ray'}"),
            # The agent, which starts jobs, has one fixed port by default: a second head needs one.
            *(f"--dashboard-agent-listen-port={free_port()}", "--object-store-memory=200000000"),
            f"--ray-client-server-port={free_port()}",
        ]
        own = {
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            "PATH": ":".join([*map(str, programs), path]),
        }
        if kinds is not None:
            config = folder / "autoscaling.json"
            config.write_text(json.dumps(autoscaling(kinds, late or {}, port)))
            command.append(f"--autoscaling-config={config}")
            own |= {
                "RAY_FAKE_CLUSTER": "1",
                "AUTOSCALER_UPDATE_INTERVAL_S": "1",
                "RAY_enable_autoscaler_v2": "1",
                "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
                "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
            }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        log = stack.enter_context((folder / "head.log").open("wb"))
        process = subprocess.Popen(
            command,
            env=inherited | joining | own | dict(environment or {}),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        stack.callback(_end, process)
        dashboard = f"http://127.0.0.1:{web}"
        if not _takes_jobs(dashboard, token, process):
            said = (folder / "head.log").read_text()[-3000:]
            raise RuntimeError(f"the head did not start:\n{said}")
        yield Head(f"127.0.0.1:{port}", dashboard, joining, token, process)


def _takes_jobs(
    dashboard: str, token: Path, process: subprocess.Popen[bytes], patience: float = 120.0
) -> bool:
    """Wait until a job is taken, which is some seconds after the dashboard answers."""
    headers = {"Authorization": f"Bearer {token.read_text()}", "Content-Type": "application/json"}
    job = urllib.request.Request(f"{dashboard}/api/jobs/", b'{"entrypoint": "true"}', headers)
    until = time.monotonic() + patience
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(job, timeout=30).close()
            return True
        except OSError:  # of HTTP, too
            time.sleep(0.5)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nodes of the fake provider are its children, some in groups of their own."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass
    for child in children:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    process.kill()
    process.wait()
