"""The run folder: complete files or none, completed stages, one process at a time."""

import subprocess
import sys

import pytest

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.errors import InputError


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    artifacts.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        artifacts.write_json(path, {"a": float("nan")})
    with pytest.raises(RuntimeError), artifacts.atomic(path) as temporary:
        temporary.write_text("part")
        raise RuntimeError
    assert artifacts.read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_folder_replaces_an_old_one(tmp_path):
    for content in ("old", "new"):
        with artifacts.atomic(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / content).touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "new"]


def test_a_writer_that_was_taken_for_dead_does_not_spoil_its_successors_file(tmp_path):
    path = tmp_path / "file"
    with (
        pytest.raises(FileNotFoundError),
        artifacts.atomic(path) as first,
    ):
        first.write_text("of the first")
        with artifacts.atomic(path) as second:
            second.write_text("of the ")
            assert first != second
            assert not first.exists()
            second.write_text("of the second")
    assert path.read_text() == "of the second"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    others = [tmp_path / name for name in (".file.partial-1", ".file.json.partial-1", "file.csv")]
    for other in others:
        other.touch()
    artifacts.write_text(tmp_path / "file", "new")
    assert [other.exists() for other in others] == [False, True, True]


def test_a_stage_is_complete_for_its_inputs_once_it_has_ended(tmp_path):
    run = RunFolder(tmp_path)
    with pytest.raises(RuntimeError), run.stage("fit", {"a": 1}):
        raise RuntimeError
    assert not run.is_complete("fit", {"a": 1})
    with run.stage("fit", {"a": 1, "b": 2}) as cost:
        cost.device_seconds = 7.5
    assert run.is_complete("fit", {"b": 2, "a": 1})
    assert not run.is_complete("fit", {"a": 2, "b": 2})
    assert run.completed()["fit"].device_seconds == 7.5


def test_unreadable_files_are_named(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n{"a"')
    with pytest.raises(InputError, match=r"x.jsonl, record 2, line 2"):
        artifacts.read_jsonl(path)
    with pytest.raises(InputError, match=r"missing.json"):
        artifacts.read_json(tmp_path / "missing.json")


def test_a_second_process_is_refused(tmp_path):
    code = (
        "import sys; from pathlib import Path; from qsit_ray.artifacts import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).lock(): pass"
    )
    with RunFolder(tmp_path).lock():
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True
        )
    assert "another qsit process" in done.stderr
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True)
    assert done.returncode == 0


def test_a_file_where_the_run_folder_should_be_is_refused(tmp_path):
    (tmp_path / "run").touch()
    with (
        pytest.raises(InputError, match="can't write the run folder"),
        RunFolder(tmp_path / "run").lock(),
    ):
        pass
