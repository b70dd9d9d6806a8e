"""Jobs of a real Ray head with a token, on one machine: run, failed, refused, stopped, resumed."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from cluster_files import ROOT
from command_line import QSIT, epochs, read, sets, wait
from command_line import SMALL as LEAST

from qsit_ray.evaluation.studies.own_head import own_head
from qsit_ray.mixture import AXES

BIN = Path(sys.executable).parent

# The whole of the rehearsal's stages, with three trials an axis that take seconds.
RATIOS = "[0.3, 1.0, 3.0]"
SMALL = {
    "search.nodes": "{}",
    # The one rank that a rehearsal holds on a cluster.
    "train.nodes": "{}",
    "train.workers": 1,
    "search.interpreting_general.ratios": RATIOS,
    "search.interpreting_general.seeds": "[0]",
    "search.interpreting_general.degree": 2,
    "search.interpreting_scoring.ratios": RATIOS,
    "search.interpreting_scoring.seeds": "[0]",
    "search.interpreting_scoring.degree": 2,
    "search.proxy_seeds": "[0]",
}
# All of the demo with the least of everything, and with as few trials.
DEMO = {
    **LEAST,
    **{f"search.{axis}.{name}": SMALL[f"search.{axis}.{name}"]
       for axis in AXES for name in ("ratios", "seeds", "degree")},
    "search.proxy_seeds": "[0]",
}  # fmt: skip
FAST = {**SMALL, "search.rehearsal.rows_per_second": 3e6}
SLOW = {**SMALL, "search.rehearsal.rows_per_second": 2e4}
SECRET = "hf_never_printed"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head with a GPU to count, for one trial at a time."""
    home = {"HOME": str(tmp_path_factory.mktemp("home"))}
    with own_head(cpus=4, gpus=1, environment=home) as found:
        yield found


def rehearsal(out, settings):
    return ["run", "--preset", "rehearsal", "--out", str(out), *sets(settings)]


def known(cluster):
    """The environment of a command that knows the cluster by the dashboard's address alone."""
    inherited = {name: os.environ[name] for name in os.environ if not name.startswith("RAY_")}
    home = {"HOME": str(cluster.token.parent)}  # with no token of its own
    return inherited | cluster.environment | home | {"RAY_ADDRESS": cluster.dashboard}


def call(cluster, *words, **environment):
    return subprocess.run(
        [str(word) for word in words],
        env=known(cluster) | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def submit(cluster, *words, **environment):
    return call(cluster, QSIT, "submit", *words, **environment)


def status(cluster, submission_id):
    done = call(cluster, BIN / "ray", "job", "status", submission_id)
    return next(word for word in ("SUCCEEDED", "FAILED", "STOPPED", "RUNNING") if
                word in done.stdout.upper())  # fmt: skip


def left(out):
    """Processes that have a run's folder in their words."""
    return [each for each in psutil.process_iter() if str(out) in " ".join(_words(each))]


def _words(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_job_runs_to_its_end_and_tells_what_it_was(cluster, tmp_path):
    out = tmp_path / "run"
    given = ["--submission-id", "whole", "--name", "a name", "--env", f"HF_TOKEN={SECRET}"]
    done = submit(cluster, *given, "--env", "GIVEN", "--", *rehearsal(out, FAST), GIVEN=SECRET)
    shown = done.stdout + done.stderr
    assert done.returncode == 0, shown
    assert "job whole: submitted" in done.stdout
    assert f"dashboard: {cluster.dashboard}" in done.stdout
    # What a job prints last is shown, too.
    assert f"report: {out}/report.html\njob whole: SUCCEEDED\n" in done.stdout
    assert SECRET not in shown
    assert cluster.token.read_text() not in shown
    assert (out / "mixture.json").exists()
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert f"git: {revision}\n" in (out / "config.yaml").read_text()
    listed = call(cluster, BIN / "ray", "job", "list").stdout
    for stored in ("'verb': 'run'", f"'run': '{out}'", f"'revision': '{revision}'", "'a name'"):
        assert stored in listed


def test_the_demo_at_small_size_trains_as_a_job(cluster, tmp_path):
    out, settings = tmp_path / "run", {**DEMO, "cache": tmp_path / "cache"}
    words = ["run", "--preset", "demo", "--out", out, *sets(settings)]
    done = submit(cluster, "--submission-id", "demo", "--", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("job demo: SUCCEEDED\n")
    assert len(epochs(out)) == 3
    assert all(line["consumed"] == line["planned"] for line in epochs(out))
    assert set(read(out / "evaluation" / "iqa.json")) == {"primary", "primary_untrained", "proxy"}
    assert (out / "report.html").exists()


def test_rays_own_command_does_the_same_and_says_that_the_revision_is_unknown(cluster, tmp_path):
    bare = [BIN / "ray", "job", "submit", "--working-dir", ".", "--", "qsit"]
    words = ["data", "build", tmp_path / "run", "--preset", "rehearsal"]
    done = call(cluster, *bare, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "git revision: unknown here" in done.stdout
    assert (tmp_path / "run/catalog").is_dir()

    refused = call(cluster, *bare, "run", "--preset", "rehearsal", "--out", "runs/x")
    assert refused.returncode != 0
    assert "--out runs/x: a relative path, and inside a job" in refused.stdout


def test_a_failed_job_is_told_with_its_reason_and_its_exit_status(cluster, tmp_path):
    missing = tmp_path / "missing.yaml"
    words = ["run", "--preset", missing, "--out", tmp_path / "run"]
    done = submit(cluster, "--submission-id", "failed", "--", *words)
    assert done.returncode == 2
    assert f"qsit: {missing}: can't read it" in done.stdout
    assert done.stderr == "qsit: job failed: FAILED\n"
    assert status(cluster, "failed") == "FAILED"


def test_an_id_is_used_once(cluster, tmp_path):
    words = ["--submission-id", "twice", "--", "show", tmp_path]
    assert "no run here" in submit(cluster, *words).stdout
    done = submit(cluster, *words)
    assert done.returncode == 2
    assert done.stderr.startswith("qsit: the cluster refuses the job: ")
    assert "twice" in done.stderr and done.stderr.count("\n") == 1


def test_a_run_has_one_job_which_stops_cleanly_and_is_resumed_by_the_same_words(cluster, tmp_path):
    out, words = tmp_path / "run", rehearsal(tmp_path / "run", SLOW)
    outcomes = out / "search" / "interpreting_general" / "outcomes"
    command = [QSIT, "submit", "--submission-id", "stopped", "--", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=known(cluster), text=True, **pipes) as follower:
        first = psutil.Process(follower.pid)
        wait(first, (out / "qsit.log").exists)

        second = submit(cluster, "--submission-id", "second", "--", *words)
        assert second.returncode == 2
        assert f"qsit: {out}: another qsit process works on this run\n" in second.stdout

        wait(first, lambda: list(outcomes.glob("*.json")))
        stop = call(cluster, BIN / "ray", "job", "stop", "stopped")
        assert stop.returncode == 0
        shown, told = follower.communicate(timeout=120)
    assert follower.returncode == 143
    assert f"qsit: stopped; finished work is kept in {out}, and the same command resumes" in shown
    assert told == "qsit: job stopped: STOPPED\n"
    assert status(cluster, "stopped") == "STOPPED"
    assert not left(out)
    kept = {path: path.stat().st_mtime_ns for path in outcomes.glob("*.json")}
    assert kept
    assert not (out / "report.html").exists()

    resumed = submit(cluster, "--", *words)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list(outcomes.glob("*.json"))) == 3
    assert not left(out)


def test_ctrl_c_stops_following_and_the_job_goes_on(cluster, tmp_path):
    out = tmp_path / "run"
    command = [QSIT, "submit", "--submission-id", "followed", "--", *rehearsal(out, FAST)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=known(cluster), text=True, **pipes) as follower:
        wait(psutil.Process(follower.pid), (out / "config.yaml").exists)
        os.kill(follower.pid, 2)
        _, told = follower.communicate(timeout=60)
    assert follower.returncode == 130
    assert "job followed goes on" in told
    commands = [line for line in told.splitlines() if " ray job " in line]
    follow, stop = (line.split("   ")[0].split() for line in commands)
    # The commands that are named work as they are.
    plain = ["env", "-u", "RAY_AUTH_MODE", "RAY_ADDRESS=http://127.0.0.1:1"]
    followed = call(cluster, *plain, *follow)
    assert "SUCCEEDED" in followed.stdout.upper()
    assert (out / "report.html").exists()
    assert call(cluster, *plain, *stop).returncode == 0


def test_nothing_is_taken_with_another_token(cluster, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("0" * 64)
    words = ["--", *rehearsal(tmp_path / "run", FAST)]
    before = call(cluster, BIN / "ray", "job", "list").stdout.count("JobDetails")
    done = submit(cluster, *words, RAY_AUTH_TOKEN_PATH=str(wrong))
    assert (done.returncode, done.stdout) == (2, "")
    assert "refuses the token" in done.stderr
    assert call(cluster, BIN / "ray", "job", "list").stdout.count("JobDetails") == before


def test_a_cluster_without_the_labels_is_told_before_data_is_built(cluster, tmp_path):
    words = ["run", "--preset", "rehearsal", "--out", tmp_path / "run"]
    done = call(cluster, QSIT, *words, RAY_ADDRESS=cluster.address)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("qsit: search.nodes: a trial asks for a node with the label qsit")
    assert done.stderr.endswith("--set search.nodes={} --set train.nodes={}\n")
    assert not (tmp_path / "run" / "catalog").exists()


def test_a_command_whose_head_dies_ends_with_words(tmp_path):
    out = tmp_path / "run"
    patience = {"RAY_gcs_rpc_server_reconnect_timeout_s": "30"}
    with own_head(cpus=4, gpus=1) as found:
        command = [QSIT, *rehearsal(out, SLOW)]
        environment = known(found) | patience | {"RAY_ADDRESS": found.address}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen(command, env=environment, text=True, **pipes) as driver:
            wait(psutil.Process(driver.pid), lambda: list(out.glob("search/*/attempts/*")))
            head = psutil.Process(found.process.pid)
            for process in [head, *head.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            shown, _ = driver.communicate(timeout=120)
    assert driver.returncode == 1, shown
    silent, failed = (line for line in shown.splitlines() if "head at" in line)
    assert "does not answer; this command ends unless it does within 0:00:20" in silent
    assert failed.endswith("finished work is kept, and the same command resumes")


def test_a_head_without_cpus_takes_a_job_whose_code_comes_first(tmp_path):
    """The head of cluster.yaml has none. A stand-in for `qsit` tells what it finds."""
    tree, programs, seen = tmp_path / "tree", tmp_path / "programs", tmp_path / "seen"
    for folder in (tree, programs):
        folder.mkdir()
    (tree / "marker.txt").write_text("shipped")
    (programs / "qsit").write_text(
        '#!/bin/sh\n{ case "$PYTHONPATH" in "$PWD"|"$PWD:"*) cat marker.txt;; esac\n'
        f"""printf ' <%s>' "$@"; }} > '{seen}'\n"""
    )
    (programs / "qsit").chmod(0o755)
    resources = {"RAY_OVERRIDE_RESOURCES": '{"CPU": 0, "GPU": 0}'}
    with own_head(programs=[programs], environment=resources) as found:
        words = ["--working-dir", tree, "--", "run", "--preset", "demo", "--out", "/runs/a b"]
        done = submit(found, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert seen.read_text() == "shipped <run> <--preset> <demo> <--out> </runs/a b>"
