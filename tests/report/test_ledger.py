"""The ledger adds up the stages and trials of the run folder."""

import json

import pytest

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder, StageRecord
from qsit_ray.config import presets
from qsit_ray.errors import InputError
from qsit_ray.mixture import Mixture
from qsit_ray.report import ledger
from qsit_ray.search import records
from qsit_ray.search.records import TrialCost, search_cost
from qsit_ray.search.trials import TrialOutcome, write_trials

STAGES = {
    "data": {"wall_seconds": 3.0, "device_seconds": 3.0},
    "search interpreting_general": {"wall_seconds": 10.0, "device_seconds": 18.5},
}


def row(ratio, seed, seconds):
    status = "failed" if seconds is None else "completed"
    return TrialOutcome(ratio, seed, Mixture.of(1, 1, 1), device_seconds=seconds, status=status)


def test_a_search_is_counted_once_and_its_waste_apart(tmp_path):
    failed = records.attempts_file(tmp_path, 1.0, 2)
    artifacts.write_jsonl(failed, [{"device_seconds": 1.5, "ended": "failed"}] * 3)
    search = search_cost(tmp_path, [row(1.0, 0, 9.25), row(1.0, 1, 9.25), row(1.0, 2, None)])
    assert search.by_trial[2] == TrialCost(1.0, 2, "failed", used=0.0, wasted=4.5)
    assert (search.completed, search.failed) == (2, 1)
    assert (search.used, search.wasted) == (18.5, 4.5)
    stages = {name: StageRecord(inputs="x", **seconds) for name, seconds in STAGES.items()}
    content = ledger.Ledger(stages, {"interpreting_general": search}).to_json()
    assert content["stages"] == STAGES
    assert content["trials"] == {"interpreting_general": search.to_json()}
    assert (content["device_seconds"], content["wasted_seconds"]) == (21.5, 4.5)
    assert content["device_hours"] == {"search": 18.5 / 3600, "primary": 0.0}


def test_the_papers_hours_save_as_much_as_the_paper_states():
    hours = ledger.PAPER_HOURS
    saved = 1 - (hours["search"] + hours["primary"]) / hours["search_with_primary"]
    assert saved == pytest.approx(0.717, abs=5e-4)


def test_an_empty_run_costs_nothing(tmp_path):
    content = ledger.write(RunFolder(tmp_path), presets.demo()).to_json()
    assert (content["stages"], content["trials"], content["device_seconds"]) == ({}, {}, 0)
    assert json.loads((tmp_path / "ledger.json").read_text()) == content


def test_it_reads_the_run_folder(tmp_path):
    run = RunFolder(tmp_path)
    artifacts.write_json(run.stages, {k: {**v, "inputs": "x"} for k, v in STAGES.items()})
    for path in (run.trials("interpreting_general"), tmp_path / "proxy" / "trials.parquet"):
        write_trials(path, [row(1.0, 0, 4.5), row(1.0, 1, None)])
    content = ledger.write(run, presets.demo()).to_json()
    assert content == artifacts.read_json(run.ledger)
    assert content["stages"] == STAGES and content["device_seconds"] == 21.5
    assert set(content["trials"]) == {"interpreting_general", "final_proxies"}
    for search in content["trials"].values():
        assert (search["completed"], search["failed"], search["used"]) == (1, 1, 4.5)


def test_unreadable_trials_are_named(tmp_path):
    run = RunFolder(tmp_path)
    artifacts.write_text(run.trials("interpreting_general"), "no parquet")
    with pytest.raises(InputError, match=r"trials\.parquet"):
        ledger.write(run, presets.demo())
