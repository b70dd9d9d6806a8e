"""A grid search that ends early takes the trials that have finished as all of its axis."""

import json

import pytest
from command_line import call

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.run_config import opened
from qsit_ray.search.records import folder_of, outcome_file
from qsit_ray.search.trials import read_trials
from qsit_ray.stages.search import open_folder, search_inputs

AXIS = "interpreting_general"


@pytest.fixture
def run(tmp_path):
    """A run folder with the data of a rehearsal."""
    done = call("data", "build", tmp_path / "run", "--preset", "rehearsal")
    assert done.returncode == 0, done.stderr
    return RunFolder(tmp_path / "run")


def finish(run, ratios, seeds):
    """Write the outcomes of trials whose scores peak at ratio 2, as the search does."""
    config = opened(run)
    folder = open_folder(folder_of(run, AXIS, None), search_inputs(run, config, AXIS))
    for ratio in ratios:
        for seed in seeds:
            outcome = {"ratio": ratio, "seed": seed, "status": "completed", "device_seconds": 2.0,
                       "score": 0.6 - (ratio - 2) ** 2 / 100 + seed / 1000}  # fmt: skip
            artifacts.write_json(outcome_file(folder, ratio, seed), outcome)


def test_the_finished_trials_are_all_of_the_axis(run):
    ratios = opened(run).search.interpreting_general.ratios
    finish(run, ratios[-6:], (0, 1))
    done = call("search", "end", run.path)
    assert done.returncode == 0, done.stderr
    assert f"{AXIS}: ended with 12 trials" in done.stdout
    rows = read_trials(run.trials(AXIS))
    assert [row.point for row in rows] == [
        (ratio, seed) for ratio in ratios[-6:] for seed in (0, 1)
    ]
    assert run.completed()[f"search {AXIS}"].device_seconds == 24
    done = call("fit", run.path, "--json")
    assert done.returncode == 0, done.stderr
    assert AXIS in json.loads(done.stdout)


def test_too_few_ratios_are_no_search(run):
    finish(run, opened(run).search.interpreting_general.ratios[:4], (0,))
    done = call("search", "end", run.path)
    assert done.returncode == 2
    assert f"{AXIS}: 4 ratios have a score, too few for a curve of degree 4" in done.stderr
    assert not run.trials(AXIS).exists()


def test_an_adaptive_search_ends_by_itself(run):
    done = call("data", "build", run.path, "--set", "search.adaptive={}")
    assert done.returncode == 0, done.stderr
    done = call("search", "end", run.path)
    assert done.returncode == 2 and "search.adaptive.trials" in done.stderr
