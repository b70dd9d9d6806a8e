"""Secrets in the environment stay there: not in files, output, logs or arguments of a run."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import planted_secrets
import pytest
import small_model
from command_line import QSIT, sets

# A rehearsal of the least search: a trial a ratio.
LEAST = {
    "search.rehearsal.rows_per_second": 100_000_000,
    "search.interpreting_general.ratios": "[0.5, 1, 2]",
    "search.interpreting_general.seeds": "[0]",
    "search.interpreting_general.degree": 2,
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A search with secrets in its environment: its folder, Ray's, output and command lines."""
    out = tmp_path_factory.mktemp("runs") / "run"
    # Ray's sockets lie below it, and their paths must be short.
    temporary = Path(tempfile.mkdtemp(prefix="qsit"))
    try:
        build = [QSIT, "data", "build", str(out), "--preset", "rehearsal", *sets(LEAST)]
        whole, seen = "", set()
        for command in (build, [QSIT, "search", "run", str(out)], [QSIT, "report", str(out)]):
            status, output, lines = planted_secrets.run(command, temporary)
            assert status == 0, output
            whole, seen = whole + output, seen | lines
        yield out, temporary, whole, seen
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def test_a_run_writes_no_secret(ran):
    out, _, output, _ = ran
    names = {path.name for path in out.rglob("*")}
    assert {"config.yaml", "qsit.log", "report.html", "trials.csv", "tuner.pkl"} <= names
    assert planted_secrets.in_files(out) == []
    assert planted_secrets.in_text(output) == []


def test_rays_logs_have_no_secret(ran):
    logs = list(ran[1].glob("ray/session_*/logs/*"))
    assert len(logs) > 5
    assert [
        (path, name)
        for path in logs
        if path.is_file()
        for name in planted_secrets.in_text(path.read_text(errors="replace"))
    ] == []


def test_no_process_has_a_secret_among_its_arguments(ran):
    lines = ran[3]
    assert any("raylet" in line for line in lines)
    assert [name for line in lines for name in planted_secrets.in_text(line)] == []


@pytest.mark.parametrize(
    "command",
    [
        ["config", "show", "--preset", "paper"],
        ["search", "estimate", "--preset", "paper", "--slots", "8", "--json"],
        ["score", "IMAGES", "--model", "MODEL", "--json"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_no_command_prints_a_secret(command, tmp_path):
    small_model.write(tmp_path / "MODEL")
    (tmp_path / "IMAGES").mkdir()
    (tmp_path / "IMAGES" / "0.png").write_bytes(small_model.image(0, (40, 64)))
    done = subprocess.run(
        [QSIT, *command],
        cwd=tmp_path,
        env={**os.environ, **planted_secrets.PLANTED},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert planted_secrets.in_text(done.stdout + done.stderr) == []


def test_what_is_found_is_named(tmp_path):
    for name, value in planted_secrets.PLANTED.items():
        assert planted_secrets.in_text(f"… {value} …") == [name]
    (tmp_path / "a.log").write_text(planted_secrets.PLANTED["HF_TOKEN"])
    assert planted_secrets.in_files(tmp_path) == [(tmp_path / "a.log", "HF_TOKEN")]


def test_arguments_and_output_of_a_leaking_command_are_found(tmp_path):
    secret = planted_secrets.PLANTED["QSIT_JUDGE_KEY"]
    program = "import os\nfor _ in range(50): print(os.environ['QSIT_JUDGE_KEY'], flush=True)"
    _, output, lines = planted_secrets.run([sys.executable, "-c", program, secret], tmp_path)
    assert planted_secrets.in_text(output) == ["QSIT_JUDGE_KEY"]
    assert [name for line in lines for name in planted_secrets.in_text(line)] == ["QSIT_JUDGE_KEY"]


LISTENS = """
import json, os, planted_secrets
from qsit_ray.session import session
with session(processes=1):
    print(json.dumps(sorted(planted_secrets.listening(os.getpid()))))
"""


def test_without_a_cluster_ray_listens_on_loopback_alone():
    folder = Path(planted_secrets.__file__).parent
    program = f"import sys; sys.path.append({str(folder)!r}){LISTENS}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ports = json.loads(done.stdout.splitlines()[-1])
    assert {"raylet", "gcs_server"} <= {name for name, _ in ports}
    assert {address for _, address in ports} == {"127.0.0.1"}
