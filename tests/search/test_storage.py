"""Trials may write to an object store: a real S3 server, over HTTP."""

import subprocess

import object_store
import pyarrow.parquet as pq
import pytest
from command_line import call, kill_when, words

from qsit_ray import artifacts
from qsit_ray.mixture import AXES
from qsit_ray.search import records

RATIOS = "[0.1, 0.5, 1.0, 3.0, 10.0]"


@pytest.fixture(scope="module")
def store():
    with object_store.running() as environment:
        yield environment


@pytest.fixture
def bucket(store, monkeypatch):
    for name, value in store.items():
        monkeypatch.setenv(name, value)
    return artifacts.path_of("s3://bucket")


def test_files_and_folders_come_back_as_they_were_written(bucket):
    path = bucket / "some" / "value.json"
    artifacts.write_json(path, {"a": 1})
    artifacts.write_json(path, {"a": 2})
    assert artifacts.read_json(path) == {"a": 2}
    folder = bucket / "some" / "folder"
    for text in ("old", "new"):
        with artifacts.atomic(folder) as temporary:
            (temporary / "deep").mkdir(parents=True)
            (temporary / "deep" / f"{text}.txt").write_text(text)
    assert artifacts.is_written(folder)
    with artifacts.local(folder) as copy:
        assert [p.name for p in copy.rglob("*") if p.is_file()] == ["new.txt"]
        assert (copy / "deep" / "new.txt").read_text() == "new"
    artifacts.remove(folder)
    assert not artifacts.is_written(folder)
    assert artifacts.read_json(path) == {"a": 2}


def test_a_folder_that_was_half_written_is_not_complete(bucket):
    (bucket / "half" / "a.txt").write_text("a")
    assert not artifacts.is_written(bucket / "half")


def test_costs_of_trials_are_read_from_the_store(bucket):
    folder = bucket / "search"
    artifacts.write_json(
        records.outcome_file(folder, 1.0, 0), {"ratio": 1.0, "seed": 0, "score": 0.5}
    )
    lines = [{"device_seconds": 2.0, "ended": "killed"}]
    artifacts.write_jsonl(records.attempts_file(folder, 1.0, 0), lines)
    assert set(records.finished(folder)) == {(1.0, 0)}
    assert records.wasted_seconds(folder) == {records.point_name(1.0, 0): 2.0}


@pytest.mark.slow
def test_a_killed_search_resumes_from_the_store(bucket, tmp_path):
    out = tmp_path / "run"
    settings = {"search.storage": "s3://bucket/run", "search.rehearsal.rows_per_second": 400000}
    for axis in AXES:
        settings |= {f"search.{axis}.ratios": RATIOS, f"search.{axis}.seeds": "[0]"}
    command, folder = words(out, "rehearsal", settings), bucket / "run" / "search" / AXES[0]
    kill_when(lambda shown: records.finished(folder), command)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finished before" in done.stdout
    for axis in AXES:
        table = pq.read_table(out / "search" / axis / "trials.parquet").to_pylist()
        assert [row["status"] for row in table] == ["completed"] * 5
        assert not (out / "search" / axis / "outcomes").exists()
        assert (out / "search" / axis / "study.journal").exists()
    shown = call("search", "show", out, "--json")
    assert '"completed": 10' in shown.stdout
