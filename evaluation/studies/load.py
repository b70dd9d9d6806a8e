"""rim: how a service bears many clients at once, and the loss of a replica. Writes the section
`load` of docs/USE.md."""

from __future__ import annotations

import collections
import io
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import requests
from PIL import Image

from qsit_ray.errors import InputError
from qsit_ray.evaluation.studies.sections import command_line, table, write_section

IMAGES = 32
SIZE = (64, 64)
PORT = 8917
WARM_UP = 20
"""Seconds of load before anything is measured."""
Answer = tuple[float, int, float]
"""When a request ended, its status (0: no answer), and its seconds."""


def write(out: Path, model: Path, clients: int, seconds: int) -> None:
    """Serve `model` on loopback, let `clients` ask for scores for `seconds`, kill a replica with
    SIGKILL, and let them go on for a quarter of that time."""
    with _served(model) as (url, driver):
        _load(url, clients, WARM_UP)  # buffers grow to the size of such a load
        before = _memory(driver)
        quiet = _load(url, clients, seconds)
        after = _memory(driver)
        timer = threading.Timer(seconds / 16, lambda: os.kill(_replica(driver).pid, signal.SIGKILL))
        timer.start()
        killed = _load(url, clients, max(20, seconds // 4))
        timer.join()
        if requests.get(f"{url}/ready", timeout=60).status_code != 200:
            raise RuntimeError("the service did not come back")
    write_section(
        out,
        "load",
        f"By {command_line('load MODEL', str(out), clients=clients, seconds=seconds)} on the "
        f"demo's proxy: {clients} clients on one machine of {os.cpu_count()} cores, which also "
        f"run the service; each sends one image of {SIZE[0]} × {SIZE[1]} at a time.",
        table(
            ["", "answers", "a second", "429", "other errors", "p50, ms", "p95, ms", "p99, ms"],
            [_row("undisturbed", quiet), _row("a replica killed with SIGKILL", killed)],
        ),
        f"Memory of the service's processes: {before:,.0f} MiB before, {after:,.0f} MiB after "
        f"{len(quiet):,} requests.",
    )


def _row(what: str, answers: list[Answer]) -> list[str]:
    took = np.array([took for _, status, took in answers if status == 200]) * 1000
    statuses = collections.Counter(status for _, status, _ in answers)
    others = sum(statuses.values()) - statuses[200] - statuses[429]
    lasted = max(ended for ended, _, _ in answers) - min(e - t for e, _, t in answers)
    p50, p95, p99 = (f"{value:,.0f}" for value in np.percentile(took, [50, 95, 99]))
    rate = f"{statuses[200] / lasted:,.0f}"
    return [what, f"{statuses[200]:,}", rate, str(statuses[429]), str(others), p50, p95, p99]


def _load(url: str, clients: int, seconds: float) -> list[Answer]:
    images = [_image(seed) for seed in range(IMAGES)]
    found: list[list[Answer]] = [[] for _ in range(clients)]
    end = time.monotonic() + seconds

    def ask(client: int) -> None:
        with requests.Session() as session:
            for number in itertools.count(client):
                began = time.monotonic()
                if began > end:
                    return
                try:
                    files = {"files": images[number % IMAGES]}
                    answer = session.post(f"{url}/v1/score", files=files, timeout=120)
                    status = answer.status_code
                except requests.RequestException:
                    status = 0
                now = time.monotonic()
                found[client].append((now, status, now - began))
                if status == 429:
                    time.sleep(float(answer.headers["Retry-After"]))

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answer for each in found for answer in each]


def _image(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


@contextmanager
def _served(model: Path) -> Iterator[tuple[str, psutil.Process]]:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            raise InputError(f"port {PORT} is in use")
    qsit = Path(sys.executable).parent / "qsit"
    command = [str(qsit), "serve", "--model", str(model), "--port", str(PORT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            for line in driver.stdout:
                if line.startswith("page: "):
                    break
            else:
                raise InputError(f"{model}: can't be served")
            yield f"http://127.0.0.1:{PORT}", psutil.Process(driver.pid)
        finally:
            driver.terminate()


def _service(driver: psutil.Process) -> Iterator[psutil.Process]:
    for process in driver.children(recursive=True):
        if any(word in _name(process) for word in ("ServeReplica", "ProxyActor")):
            yield process


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _replica(driver: psutil.Process) -> psutil.Process:
    return next(
        process for process in _service(driver) if "ServeReplica:qsit:Model" in _name(process)
    )


def _memory(driver: psutil.Process) -> float:
    """MiB of the proxy, the door and the replicas."""
    return sum(process.memory_info().rss for process in _service(driver)) / 2**20
