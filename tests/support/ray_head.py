"""A real Ray head on loopback with a token of its own, as a context; ended by its process group."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Head:
    """`address`: the dashboard's; `environment`: of commands that know address and token."""

    address: str
    token: Path
    environment: dict[str, str]


@contextlib.contextmanager
def head(folder, cpus=0, gpus=0, programs=(), **environment):
    """Yield a head with logical resources and with `programs`' folders first on its PATH."""
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    known = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
        "PATH": ":".join([*map(str, programs), str(BIN), os.environ["PATH"]]),
        "HOME": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }
    port, agent = _free_ports(2)
    address = f"http://127.0.0.1:{port}"
    # Ray's sockets lie below its temporary folder, and their paths must be short.
    session = tempfile.mkdtemp(prefix="qsit")
    start = ["start", "--head", "--block", "--port=0", f"--num-cpus={cpus}", f"--num-gpus={gpus}"]
    start += ["--dashboard-host=127.0.0.1", f"--dashboard-port={port}", f"--temp-dir={session}"]
    # The agent, which starts jobs, has one fixed port by default: a second head would have none.
    start += [f"--dashboard-agent-listen-port={agent}", "--object-store-memory=200000000"]
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(
            [BIN / "ray", *start],
            env=known | environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait(address, token, process, folder / "head.log")
        # A command knows the cluster by the dashboard's address alone.
        yield Head(address, token, known | {"RAY_ADDRESS": address})
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(session, ignore_errors=True)


def _free_ports(number):
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _wait(address, token, process, log, seconds=120):
    """Until a job is taken, which is some seconds after the dashboard answers."""
    deadline = time.monotonic() + seconds
    headers = {"Authorization": f"Bearer {token.read_text()}", "Content-Type": "application/json"}
    job = urllib.request.Request(f"{address}/api/jobs/", b'{"entrypoint": "true"}', headers)
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(job, timeout=30)
            return
        except OSError:  # of HTTP, too
            time.sleep(0.5)
    raise AssertionError(f"no head:\n{log.read_text()}")
