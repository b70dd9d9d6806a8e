"""Ways to search with fewer device hours: planted responses are found, and time is counted."""

import numpy as np
import pytest
from qsit_pools import losses
from typer.testing import CliRunner

from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.errors import InputError
from qsit_ray.evaluation.studies.__main__ import app
from qsit_ray.evaluation.studies.eighth import SEARCHES, simulated
from qsit_ray.evaluation.studies.hours import WAYS, hours_table, recorded
from qsit_ray.mixture import AXES
from qsit_ray.run_config import RunConfig
from qsit_ray.search.trials import TrialOutcome, write_trials
from qsit_ray.stages.evidence import scouts_file

PEAKS = {"interpreting_general": 10.0, "interpreting_scoring": 2.0}


def response(axis, ratio):
    return 0.5 - 0.03 * np.log(ratio / PEAKS[axis]) ** 2


def trial(axis, ratio, seed, noise, seconds):
    """Its losses follow the response exactly, its score with noise."""
    score = float(response(axis, ratio) + noise)
    loss = float(np.exp(1 - 5 * response(axis, ratio)))
    return TrialOutcome(
        ratio, seed, score=score, losses=losses(loss, 2 * loss),
        device_seconds=seconds,
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    chance = np.random.default_rng(0)
    paths = [tmp_path_factory.mktemp("runs") / f"demo-{number}" for number in range(2)]
    for path in paths:
        run = RunFolder(path)
        path.mkdir()
        RunConfig(presets.demo(), {"git": None}, []).write(run)
        for axis in AXES:
            run.search(axis).mkdir(parents=True)
            space = presets.demo().space(axis)
            grid = [(ratio, seed) for ratio in space.ratios for seed in space.seeds]
            noises = 0.01 * chance.normal(size=len(grid))
            write_trials(
                run.trials(axis),
                [trial(axis, *at, noise, 10.0) for at, noise in zip(grid, noises, strict=True)],
            )
            ends = np.geomspace(min(space.ratios), max(space.ratios), 6)
            scouts = [trial(axis, ratio, 0, 0.1 * chance.normal(), 3.0) for ratio in ends]
            write_trials(scouts_file(run, axis), scouts)
    return paths


def test_each_way_has_its_cost_and_its_regret(runs):
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in hours_table(runs).splitlines()[2:]
    ]
    cost = {row[0]: float(row[1]) for row in rows}
    assert list(cost) == list(WAYS)
    assert cost["always ratio 1"] == 0
    assert cost["grid, paper's quartic"] == 1
    assert cost["one seed of the grid, with losses"] == pytest.approx(1 / 3, abs=1e-3)
    assert cost["scouts alone, the least loss"] == pytest.approx(6 * 3 / 180, abs=1e-3)
    assert cost["four scouts alone, the least loss"] == pytest.approx(4 * 3 / 180, abs=1e-3)
    assert cost["4 adaptive trials"] == pytest.approx(4 / 18, abs=1e-3)
    lost = {row[0]: [float(row[at].split(",")[0]) for at in (3, 5)] for row in rows}
    # At ratio 1 the planted responses are 15.9 and 1.4 hundredths below their peaks.
    assert lost["always ratio 1"] == pytest.approx([15.9, 1.44], abs=1.5)
    for way in ("grid, the least loss", "scouts alone, the least loss"):
        assert max(lost[way]) < 0.5
    assert max(lost["grid, with losses"]) < max(lost["always ratio 1"])


def test_the_true_response_is_that_of_all_runs(runs):
    for axis in AXES:
        for search in recorded(runs, axis):
            best = search.grid[np.argmax(search.truth(search.grid))]
            assert abs(np.log(best / PEAKS[axis])) < 0.5
            assert search.regret(float(best)) == pytest.approx(0, abs=1e-9)
            assert len(search.trials) == 18


def test_a_run_without_scouts_is_refused(runs, tmp_path):
    run = RunFolder(tmp_path)
    RunConfig(presets.demo(), {"git": None}, []).write(run)
    with pytest.raises(InputError, match=r"trials\.parquet: missing; .* search\.scouts"):
        hours_table([tmp_path])


def test_the_section_names_its_command(runs, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- hours: begin -->\n<!-- hours: end -->\nafter\n")
    done = CliRunner().invoke(app, ["hours", *map(str, runs), "--out", str(page)])
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert "python -m evaluation.studies hours demo-0 demo-1" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")


def test_an_eighth_of_the_trials_is_a_function_of_its_arguments():
    first, again = (simulated("cusp", "0.6 points", 3, seed=1) for _ in range(2))
    assert first == again
    assert all(len(outcome.regrets) == len(SEARCHES) for outcome in first)
    assert min(min(outcome.regrets) for outcome in first) >= 0


def test_seven_trials_find_a_kink_that_the_quartic_smooths_away():
    found = np.array([o.regrets for o in simulated("cusp", "0.3 points", 8)])
    same, quartic, grid, seven = found.mean(axis=0)
    assert grid < quartic
    assert seven < quartic < same
