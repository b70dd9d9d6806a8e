"""submit.sh: its arguments, and a real head that takes the job only with the token."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from cluster_files import ROOT


def checkout(tmp_path, **programs):
    """A tree with submit.sh and with shell scripts as its .venv's programs."""
    for folder in ("cluster", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "cluster/submit.sh", tmp_path / "cluster")
    for name, text in programs.items():
        (tmp_path / ".venv/bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / ".venv/bin" / name).chmod(0o755)
    return tmp_path / "cluster/submit.sh"


def submit(script, *arguments, **environment):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return subprocess.run(
        [script, *arguments],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (["--out", "/runs/x"], {}, "RAY_ADDRESS is not set"),
        ([], {"RAY_ADDRESS": "http://127.0.0.1:1"}, "no arguments"),
    ],
)
def test_submit_says_what_is_missing(tmp_path, arguments, environment, named):
    done = submit(checkout(tmp_path, ray="echo called"), *arguments, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert done.stderr.count("\n") == 1


def test_submit_passes_its_arguments_through(tmp_path):
    script = checkout(tmp_path, ray='echo "$RAY_AUTH_MODE"; printf "%s\\n" "$@"; exit 3')
    done = submit(script, "--set", "a.b=c d", RAY_ADDRESS="http://127.0.0.1:1")
    expected = ["token", "job", "submit", "--working-dir", str(tmp_path), "--"]
    assert done.stdout.splitlines() == [*expected, "qsit", "run", "--set", "a.b=c d"]
    assert done.returncode == 3


@pytest.mark.slow
def test_a_job_reaches_a_head_without_cpus_and_only_with_the_token(tmp_path):
    """A real head, started as cluster.yaml does, and a stand-in for `qsit` on its PATH."""
    ray = Path(sys.executable).parent / "ray"
    script = checkout(tmp_path / "tree", ray=f'exec "{ray}" "$@"')
    (tmp_path / "tree/marker.txt").write_text("shipped")
    programs = tmp_path / "programs"
    programs.mkdir()
    # The shipped tree must come first on the path, or an installed package would be run instead.
    # Into a file: what a short job prints last doesn't always reach the submitter.
    seen = tmp_path / "seen"
    (programs / "qsit").write_text(
        '#!/bin/sh\n{ case "$PYTHONPATH" in "$PWD"|"$PWD:"*) cat marker.txt;; esac\n'
        f"""printf ' <%s>' "$@"; }} > '{seen}'\n"""
    )
    (programs / "qsit").chmod(0o755)
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
        "PATH": f"{programs}:{ray.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_OVERRIDE_RESOURCES": '{"CPU": 0, "GPU": 0}',
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    # Ray's sockets lie below its temporary folder, and their paths must be short.
    folder = tempfile.mkdtemp(prefix="qsit")
    start = ["start", "--head", "--block", "--port=0", "--num-cpus=0", "--num-gpus=0"]
    start += ["--dashboard-host=127.0.0.1", f"--dashboard-port={port}", f"--temp-dir={folder}"]
    with (tmp_path / "head.log").open("w") as log:
        head = subprocess.Popen(
            [ray, *start], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 60
        known = {"HOME": str(tmp_path), "RAY_AUTH_TOKEN_PATH": str(token), "RAY_ADDRESS": address}
        while True:
            done = submit(script, "--out", "/runs/a b", **known)
            if done.returncode == 0 or time.monotonic() > deadline:
                break
            time.sleep(1)
        assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "head.log").read_text()
        assert seen.read_text() == "shipped <run> <--out> </runs/a b>"
        seen.unlink()

        wrong = tmp_path / "wrong"
        wrong.write_text(secrets.token_hex(32))
        refused = submit(script, "--out", "/runs/x", **known | {"RAY_AUTH_TOKEN_PATH": str(wrong)})
        assert refused.returncode != 0
        assert not seen.exists()
        assert "token" in refused.stderr.lower()
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        try:
            head.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()
        shutil.rmtree(folder, ignore_errors=True)
