"""The files of trials: outcomes of those that finished, and seconds lost with killed attempts."""

import pytest
from qsit_pools import losses

from qsit_ray import artifacts
from qsit_ray.errors import InputError
from qsit_ray.mixture import Mixture
from qsit_ray.search import records
from qsit_ray.search.records import Attempts
from qsit_ray.search.trials import TrialOutcome

POINT = (2.42, 1)


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(records.time, "monotonic", lambda: now[0])
    return now


def test_an_attempt_that_completed_lost_nothing(tmp_path, clock):
    attempt = Attempts(records.attempts_file(tmp_path, *POINT))
    clock[0] += 7
    attempt.report("completed")
    attempt.report("stopped")
    (line,) = artifacts.read_jsonl(attempt.path)
    assert line == {"device_seconds": 7.0, "ended": "completed"}
    assert records.wasted_seconds(tmp_path) == {records.point_name(*POINT): 0}


def test_a_killed_attempt_lost_its_time_since_the_last_checkpoint(tmp_path, clock):
    path = records.attempts_file(tmp_path, *POINT)
    attempt = Attempts(path)
    clock[0] += 50
    attempt.checkpoint(clock[0])
    clock[0] += 3
    attempt.report("failed")
    killed = Attempts(path)  # writes a line at its start
    lines = artifacts.read_jsonl(path)
    assert [line["ended"] for line in lines] == ["failed", "running"]
    artifacts.write_jsonl(path, [lines[0], {"device_seconds": 2.0, "ended": "running"}])
    killed.report("stopped")
    artifacts.write_jsonl(path, [lines[0], {"device_seconds": 2.0, "ended": "running"}])
    last = Attempts(path)
    clock[0] += 10
    last.report("completed")
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


def test_finished_trials_are_read_from_their_files(tmp_path):
    outcome = TrialOutcome(*POINT, Mixture.of(1, 2, 3), 0.5, losses(1.0, 2.0), device_seconds=1.5)
    path = records.outcome_file(tmp_path, *POINT)
    artifacts.write_json(path, outcome.to_json())
    assert records.finished(tmp_path) == {POINT: outcome}
    assert list(artifacts.read_json(path)) == [
        "ratio", "seed", "rows_scoring", "rows_interpreting", "rows_general", "score",
        "loss_scoring", "loss_interpreting", "accuracy", "probability", "srcc", "plcc", "steps",
        "best_step", "stopped", "plan_sha256", "device_seconds", "looks",
    ]  # fmt: skip


def test_an_outcome_without_its_point_is_named(tmp_path):
    path = records.outcome_file(tmp_path, *POINT)
    artifacts.write_json(path, {"seed": 1})
    with pytest.raises(InputError, match=r"2\.42.* not the outcome of a trial.*ratio"):
        records.finished(tmp_path)
