"""What trials leave behind tells which have finished and what was lost with those that died."""

import pytest

from qsit_ray import artifacts
from qsit_ray.search import records
from qsit_ray.search.records import Attempts

POINT = (2.42, 1)


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(records.time, "monotonic", lambda: now[0])
    return now


def test_an_attempt_that_completed_lost_nothing(tmp_path, clock):
    attempt = Attempts(records.attempts_file(tmp_path, *POINT))
    clock[0] += 7
    attempt.end("completed")
    attempt.end("stopped")
    (line,) = artifacts.read_jsonl(attempt.path)
    assert line == {"device_seconds": 7.0, "ended": "completed"}
    assert records.wasted_seconds(tmp_path) == {records.point_name(*POINT): 0}


def test_what_died_lost_its_time_since_the_last_checkpoint(tmp_path, clock):
    path = records.attempts_file(tmp_path, *POINT)
    attempt = Attempts(path)
    clock[0] += 50
    attempt.checkpoint()
    clock[0] += 3
    attempt.end("failed")
    killed = Attempts(path)  # leaves the line of its start
    lines = artifacts.read_jsonl(path)
    assert [line["ended"] for line in lines] == ["failed", "running"]
    artifacts.write_jsonl(path, [lines[0], {"device_seconds": 2.0, "ended": "running"}])
    killed.end("stopped")
    artifacts.write_jsonl(path, [lines[0], {"device_seconds": 2.0, "ended": "running"}])
    last = Attempts(path)
    clock[0] += 10
    last.end("completed")
    assert [line["ended"] for line in artifacts.read_jsonl(path)] == [
        "failed",
        "killed",
        "completed",
    ]
    assert records.wasted_seconds(tmp_path) == {records.point_name(*POINT): 5.0}


def test_a_silent_attempt_was_killed_unless_it_may_still_run(tmp_path):
    path = records.attempts_file(tmp_path, *POINT)
    artifacts.write_jsonl(path, [{"device_seconds": 4.0, "ended": "running"}])
    name = records.point_name(*POINT)
    assert records.wasted_seconds(tmp_path) == {name: 4.0}
    assert records.wasted_seconds(tmp_path, {name}) == {name: 0}


def test_finished_trials_are_found_with_and_without_their_points(tmp_path):
    row = {"ratio": POINT[0], "seed": POINT[1], "score": 0.5}
    artifacts.write_json(records.outcome_file(tmp_path, *POINT), row)
    assert records.finished(tmp_path) == {POINT: row}
    assert records.outcomes(tmp_path, [POINT, (1.0, 0)]) == {POINT: row}
