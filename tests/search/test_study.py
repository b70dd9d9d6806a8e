"""A search leaves an ordinary optuna study, which says the same as its outcome files."""

import logging
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState
from qsit_pools import losses

from qsit_ray.config import presets
from qsit_ray.mixture import Mixture
from qsit_ray.search.study import SearchStudy
from qsit_ray.search.trials import Look, TrialOutcome

AXIS = "interpreting_general"
SPACE = presets.paper().space(AXIS)
FIRST = TrialOutcome(
    0.1, 0, Mixture.of(0, 240, 2400), 0.4,
    losses=losses(5.9, 2.4), accuracy=0.4, srcc=-0.2, plcc=None, steps=144,
    device_seconds=47.2,
)  # fmt: skip
BEST = TrialOutcome(2.4, 2, Mixture.of(0, 2400, 1000), 0.6, steps=96)  # no ratio of the grid
FAILED = TrialOutcome(10.0, 1, status="failed")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "search" / AXIS / "study.journal"


def loaded(path):
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    return optuna.load_study(study_name=AXIS, storage=storage)


def test_trials_are_appended_as_they_end(path):
    study = SearchStudy(path, SPACE)
    study.rebuild([])
    assert loaded(path).trials == []
    for outcome in (FIRST, BEST, FAILED):
        study.add(outcome)
    found = loaded(path)
    assert found.direction == optuna.study.StudyDirection.MAXIMIZE
    assert [trial.state for trial in found.trials] == [
        TrialState.COMPLETE,
        TrialState.COMPLETE,
        TrialState.FAIL,
    ]
    assert [trial.params for trial in found.trials] == [
        {"ratio": 0.1, "seed": 0},
        {"ratio": 2.4, "seed": 2},
        {"ratio": 10.0, "seed": 1},
    ]
    assert (found.best_value, found.best_params["ratio"]) == (0.6, 2.4)
    assert found.trials[0].user_attrs == {
        "loss_scoring": 5.9, "loss_interpreting": 2.4, "accuracy": 0.4, "srcc": -0.2,
        "steps": 144, "device_seconds": 47.2,
    }  # fmt: skip
    interval = found.trials[0].distributions["ratio"]
    assert (interval.low, interval.high, interval.log) == (0.1, 10.0, True)


def test_a_resumed_search_writes_no_trial_twice(path):
    killed = SearchStudy(path, SPACE)
    killed.rebuild([])
    killed.add(FIRST)
    path.with_name("study.journal.lock").symlink_to(path)  # killed while it held the lock
    path.open("a").write('{"op_code": 4, "work')  # and in the middle of a line
    resumed = SearchStudy(path, SPACE)
    resumed.rebuild([FIRST])
    resumed.add(BEST)
    assert [trial.params["ratio"] for trial in loaded(path).trials] == [0.1, 2.4]


def test_a_trial_under_way_has_its_evaluations_and_ends_as_the_same_trial(path):
    study = SearchStudy(path, SPACE)
    study.rebuild([])
    study.report(BEST.point, 48, 3.0)
    study.report(FAILED.point, 48, 2.5)
    study.report(BEST.point, 96, 2.0)
    study.report(BEST.point, 96, 2.2)  # an attempt that was killed before its checkpoint, again
    under_way = loaded(path).trials
    assert [trial.state for trial in under_way] == [TrialState.RUNNING] * 2
    assert [trial.params for trial in under_way] == [
        {"ratio": 2.4, "seed": 2},
        {"ratio": 10.0, "seed": 1},
    ]
    assert [trial.intermediate_values for trial in under_way] == [{48: 3.0, 96: 2.0}, {48: 2.5}]
    study.add(FAILED)
    last = Look(1.0, losses(4.0, 1.5)), Look(1.25, losses(9.0, 1.0))
    study.add(replace(BEST, steps=120, looks=last))
    study.add(FIRST)
    ended = loaded(path).trials
    assert [(trial.state, trial.value) for trial in ended] == [
        (TrialState.COMPLETE, 0.6),
        (TrialState.FAIL, None),
        (TrialState.COMPLETE, 0.4),
    ]
    assert [trial.params["ratio"] for trial in ended] == [2.4, 10.0, 0.1]
    assert ended[0].user_attrs == {"steps": 120}
    # With the last evaluation, which comes with the outcome.
    assert ended[0].intermediate_values == {48: 3.0, 96: 2.0, 120: 1.0}


def test_a_resumed_search_has_the_evaluations_of_the_trials_that_ended(path):
    looks = (Look(0.5, losses(4.0, 2.0)), Look(1.0, losses(3.0, 1.0)), Look(1.25, losses(2.0, 3.0)))
    study = SearchStudy(path, SPACE)
    study.rebuild([
        TrialOutcome(0.1, 0, Mixture.of(100, 100, 100), 0.5, steps=120, looks=looks),
        TrialOutcome(0.2, 0, Mixture.of(0, 100, 100), 0.5, steps=120, looks=looks),
    ])  # fmt: skip
    both, no_scoring = loaded(path).trials
    assert both.intermediate_values == {48: 3.0, 96: 2.0, 120: 2.5}
    assert no_scoring.intermediate_values == {48: 2.0, 96: 1.0, 120: 3.0}


def test_a_trial_without_score_is_fail(path):
    study = SearchStudy(path, SPACE)
    study.rebuild([TrialOutcome(1.0, 0, Mixture.of(1, 1, 1), None, accuracy=0.4)])
    (trial,) = loaded(path).trials
    assert (trial.state, trial.user_attrs) == (TrialState.FAIL, {"accuracy": 0.4})


def test_a_study_that_cannot_be_written_is_only_logged(tmp_path, caplog):
    (tmp_path / "search").write_text("a file where a folder is needed")
    study = SearchStudy(tmp_path / "search" / "study.journal", SPACE)
    with caplog.at_level(logging.WARNING):
        study.rebuild([FIRST])
        study.report(BEST.point, 48, 3.0)
        study.add(BEST)
    assert "the study was not written" in caplog.text
