"""The state of a search: trials by status, best ratios, used and wasted seconds."""

import json

import pytest
from typer.testing import CliRunner

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.app import app
from qsit_ray.config import presets
from qsit_ray.config.files import dump, override
from qsit_ray.mixture import Mixture
from qsit_ray.search import records
from qsit_ray.search.summary import summary, to_json
from qsit_ray.search.trials import TrialOutcome, write_trials
from qsit_ray.surrogate.comparison import compare_curves
from qsit_ray.surrogate.observations import observed

CONFIG = presets.demo()
AXIS = "interpreting_general"
RATIOS = CONFIG.space(AXIS).ratios


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path)
    artifacts.write_text(run.config, dump(CONFIG))
    return run


def outcome(ratio, seed, score):
    return TrialOutcome(ratio, seed, Mixture.of(1, 1, 1), score, device_seconds=2.0)


def finish(run, points):
    for ratio, seed, score in points:
        path = records.outcome_file(run.search(AXIS), ratio, seed)
        artifacts.write_json(path, outcome(ratio, seed, score).to_json())


def test_a_search_that_has_not_started_waits(run):
    found = to_json(summary(run, CONFIG))
    assert found["trials"] == {"waiting": 36}
    assert found["best_ratio"] == {AXIS: None, "interpreting_scoring": None}
    assert found["device_seconds"] == {"used": 0, "wasted": 0}


def test_before_there_is_a_fit_the_best_mean_is_the_best_ratio(run):
    finish(run, [(0.1, 0, 0.9), (0.1, 1, 0.1), (1.6, 0, 0.6), (6.3, 2, 0.4)])
    found = to_json(summary(run, CONFIG))
    assert found["trials"] == {"completed": 4, "waiting": 32}
    assert found["best_ratio"][AXIS] == 1.6
    assert found["device_seconds"] == {"used": 8.0, "wasted": 0}


def test_an_adaptive_search_shows_the_trials_that_there_are(run):
    adaptive = override(CONFIG, ["search.adaptive={trials: 8}"])
    finish(run, [(0.37, 0, 0.5), (1.5, 1, 0.6)])
    assert [(row.ratio, row.status) for row in summary(run, adaptive)[AXIS].rows] == [
        (0.37, "completed"),
        (1.5, "completed"),
    ]


def test_a_finished_search_reports_its_optimum_failures_and_waste(run):
    points = [(ratio, seed) for ratio in RATIOS for seed in (0, 1, 2)]
    lost = points[4]
    done = {p: outcome(*p, 0.5 - 0.01 * abs(RATIOS.index(p[0]) - 4)) for p in points if p != lost}
    failed = TrialOutcome(*lost, Mixture.of(1, 1, 1), status="failed", reason="out of memory")
    write_trials(run.trials(AXIS), [done.get(point, failed) for point in points])
    attempts = records.attempts_file(run.search(AXIS), *lost)
    artifacts.write_jsonl(attempts, [{"device_seconds": 3.5, "ended": "failed"}] * 3)
    seen = observed([p[0] for p in done], [row.score for row in done.values()])
    fitted = compare_curves(seen, degree=2)
    artifacts.write_json(run.fit(AXIS), fitted.to_json())
    done = CliRunner().invoke(app, ["search", "show", str(run.path), "--json"])
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["trials"] == {"completed": 17, "failed": 1, "waiting": 18}
    assert found["best_ratio"][AXIS] == fitted.fit.optimum
    assert found["by_axis"][AXIS]["verdict"] == fitted.verdict
    assert found["device_seconds"] == {"used": 34.0, "wasted": 10.5}
    assert found["by_axis"][AXIS]["failures"] == [
        {"ratio": lost[0], "seed": lost[1], "reason": "out of memory"}
    ]
    shown = CliRunner().invoke(app, ["search", "show", str(run.path)])
    assert "out of memory" in shown.stdout
    assert "10.5 wasted" in shown.stdout
