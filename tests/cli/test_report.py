"""`qsit report`: of one run its page, of several a page of all."""

import subprocess

import pytest
import typer.main
from command_line import QSIT
from planted_run import CONFIG, catalog, fill, predict
from typer.testing import CliRunner

from qsit_ray.artifacts import RunFolder
from qsit_ray.cli import command_line
from qsit_ray.cli.app import app
from qsit_ray.run_config import RunConfig


@pytest.fixture
def runs(tmp_path):
    found = [RunFolder(tmp_path / name) for name in ("a", "b")]
    for run in found:
        fill(run)
        catalog(run)
        predict(run)
        RunConfig(CONFIG, {"versions": {}}, []).write(run)
    return [run.path for run in found]


def call(*words):
    return CliRunner().invoke(app, ["report", *map(str, words)])


def test_one_run_has_its_page_and_ledger(runs):
    done = subprocess.run([QSIT, "report", runs[0]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(runs[0] / "report.html")
    assert (runs[0] / "ledger.json").exists()


def test_several_runs_have_one_page_and_are_left_as_they_are(runs, tmp_path):
    before = sorted(path for path in tmp_path.rglob("*"))
    done = call(*runs, "--out", tmp_path / "all.html")
    assert done.exit_code == 0, done.output
    assert "2 runs side by side" in (tmp_path / "all.html").read_text()
    assert sorted(path for path in tmp_path.rglob("*")) == sorted([*before, tmp_path / "all.html"])
    assert call(*runs).stdout.strip() == str(runs[0] / "runs.html")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a", "--out", "x.html"), "--out belongs to several runs"),
        (("a", "a"), "a run is named twice"),
        (("a", "nowhere"), "no run here"),
        (("a", "s3://b/run"), "a run folder is on a local"),
    ],
)
def test_a_mistake_is_said(runs, words, message, monkeypatch):
    monkeypatch.chdir(runs[0].parent)
    done = subprocess.run([QSIT, "report", *words], capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_job_is_told_of_each_run_that_is_relative():
    parsed = command_line.parsed(typer.main.get_command(app), ["report", "/runs/a", "runs/b"])
    assert command_line.relative_paths(parsed, lambda path: False) == ["RUN... runs/b"]
    assert parsed.run == "/runs/a"
