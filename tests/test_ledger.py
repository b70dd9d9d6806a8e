"""The ledger adds up what the run folder says."""

import json

import pytest

from qsit_ray import artifacts, ledger
from qsit_ray.artifacts import RunFolder
from qsit_ray.errors import InputError
from qsit_ray.mixture import Mixture
from qsit_ray.search.space import write_trials

STAGES = {
    "data": {"wall_seconds": 3.0, "device_seconds": 3.0},
    "search interpreting_general": {"wall_seconds": 10.0, "device_seconds": 18.5},
}


def test_a_search_is_counted_once():
    rows = [
        {"status": "completed", "device_seconds": 9.25},
        {"status": "completed", "device_seconds": 9.25},
        {"status": "failed", "device_seconds": None},
    ]
    assert ledger.ledger(STAGES, {"interpreting_general": rows}) == {
        "stages": STAGES,
        "trials": {"interpreting_general": {"completed": 2, "failed": 1, "device_seconds": 18.5}},
        "device_seconds": 21.5,
    }


def test_an_empty_run_costs_nothing(tmp_path):
    empty = {"stages": {}, "trials": {}, "device_seconds": 0}
    assert ledger.write(RunFolder(tmp_path)) == empty
    assert json.loads((tmp_path / "ledger.json").read_text()) == empty


def test_it_reads_the_run_folder(tmp_path):
    run = RunFolder(tmp_path)
    artifacts.write_json(run.stages, {k: {**v, "inputs": "x"} for k, v in STAGES.items()})
    outcome = {"ratio": 1.0, "seed": 0, "device_seconds": 4.5}
    for path in (run.trials("interpreting_general"), tmp_path / "proxy" / "trials.parquet"):
        points = [(1.0, 0), (1.0, 1)]
        write_trials(path, points, {(1.0, 0): outcome}, {}, {1.0: Mixture(1, 1, 1)})
    content = ledger.write(run)
    assert content == artifacts.read_json(run.ledger)
    assert content["stages"] == STAGES and content["device_seconds"] == 21.5
    expected = {"completed": 1, "failed": 1, "device_seconds": 4.5}
    assert content["trials"] == {"interpreting_general": expected, "final_proxies": expected}


def test_unreadable_trials_are_named(tmp_path):
    run = RunFolder(tmp_path)
    artifacts.write_text(run.trials("interpreting_general"), "no parquet")
    with pytest.raises(InputError, match=r"trials\.parquet"):
        ledger.write(run)
