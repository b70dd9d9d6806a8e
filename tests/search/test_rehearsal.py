"""A rehearsal is the paper's search with trials that only wait; all but the training is real."""

import contextlib
import json
import random
import shutil
import subprocess

import numpy as np
import optuna
import psutil
import pyarrow.parquet as pq
import pytest
from command_line import call, kill_when, sets, words
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.config import presets
from qsit_ray.mixture import AXES, DOMAINS, Mixture, ratios_at
from qsit_ray.search.rehearsal import RehearsedTraining, planted_score

PLANTED = {"interpreting_general": 2.42, "interpreting_scoring": 3.54}
KILLS = 3
QUICK = {"search.rehearsal.rows_per_second": 4_000_000}


@given(st.floats(0.2, 9.0), st.floats(0.1, 10.0))
def test_the_planted_curve_peaks_where_it_is_planted(optimum, ratio):
    assert planted_score(ratio, optimum) <= planted_score(optimum, optimum)


def test_the_planted_curve_is_no_polynomial_over_log_ratio():
    x = np.linspace(np.log(0.1), np.log(10), 40)
    scores = [planted_score(float(np.exp(t)), 2.42) for t in x]
    left = np.polynomial.Polynomial.fit(x, scores, 8)
    assert np.abs(left(x) - scores).max() > 1e-5


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 999))
def test_a_rehearsed_trial_depends_on_its_ratio_and_seed_alone(seed):
    config = presets.rehearsal()
    sizes = config.expected_sizes

    def trial(ratio):
        mixture = Mixture.of(0, 1000, 500)
        return RehearsedTraining(config.search, 2.42, ratio, mixture, sizes, seed)

    assert trial(1.0).result() == trial(1.0).result()
    assert trial(1.0).score != trial(2.0).score


def trial_processes(driver):
    return [
        process
        for process in psutil.Process(driver).children(recursive=True)
        if process.name().startswith("ray::Trial")
    ]


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """The paper's 114 trials, with processes of three of them killed at seeded moments."""
    out = tmp_path_factory.mktemp("runs") / "rehearsal"
    chance = random.Random(11)
    moments = sorted(chance.sample(range(8, 50), KILLS))
    command = words(out, "rehearsal", QUICK)
    killed, log = 0, out.with_suffix(".log")
    with log.open("w") as shown:
        process = subprocess.Popen(command, stdout=shown, stderr=subprocess.STDOUT)
    while process.poll() is None:
        ended = len(list(out.glob("search/*/outcomes/*.json")))
        if killed < KILLS and ended >= moments[killed]:
            there = trial_processes(process.pid)
            if there:  # none where all wait for the next trial: then a moment later
                chance.choice(there).kill()
                killed += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
    assert process.returncode == 0, log.read_text()
    assert killed == KILLS
    return out


@pytest.mark.slow
def test_every_trial_of_the_papers_grid_is_there_once(rehearsed):
    for axis in AXES:
        table = pq.read_table(rehearsed / "search" / axis / "trials.parquet").to_pylist()
        space = presets.rehearsal().space(axis)
        assert [(row["ratio"], row["seed"]) for row in table] == [
            (ratio, seed) for ratio in space.ratios for seed in space.seeds
        ]
        assert {row["status"] for row in table} == {"completed"}


@pytest.mark.slow
def test_the_planted_optima_are_found_within_the_stated_interval(rehearsed):
    for axis, planted in PLANTED.items():
        fitted = json.loads((rehearsed / "search" / axis / "fit.json").read_text())
        low, high = fitted["interval"]
        assert low <= planted <= high
        assert high / low < 6
        lost = planted_score(planted, planted) - planted_score(fitted["optimum"], planted)
        assert lost < 0.002
    mixture = json.loads((rehearsed / "mixture.json").read_text())
    optima = [
        json.loads((rehearsed / "search" / axis / "fit.json").read_text())["optimum"]
        for axis in AXES
    ]
    for domain, ratio in ratios_at(DOMAINS, dict(zip(AXES, optima, strict=True))).items():
        assert mixture["ratios"][domain] == pytest.approx(ratio)
    assert mixture["reference_loss_ratio"] == pytest.approx(1 / 4.66)


@pytest.mark.slow
def test_what_the_killed_attempts_lost_is_in_the_ledger(rehearsed):
    attempts = [
        line["ended"]
        for path in rehearsed.glob("search/*/attempts/*.jsonl")
        for line in map(json.loads, path.read_text().splitlines())
    ]
    # A trial killed after its outcome and before it reported its end has finished all the same.
    unreported = attempts.count("running")
    assert attempts.count("completed") + unreported == 114
    assert unreported + attempts.count("killed") <= KILLS
    ledger = json.loads((rehearsed / "ledger.json").read_text())
    assert ledger["wasted_seconds"] == pytest.approx(
        sum(search["wasted"] for search in ledger["trials"].values())
    )


@pytest.mark.slow
def test_trials_of_another_catalog_are_not_thrown_away(rehearsed, tmp_path):
    out = shutil.copytree(rehearsed, tmp_path / "changed")
    outcomes = {path.name for path in out.glob("search/*/outcomes/*.json")}
    manifest = out / "catalog" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    done = call("search", "run", out)
    assert done.returncode == 2
    assert "57 trials finished with another catalog; remove it" in done.stderr
    assert {path.name for path in out.glob("search/*/outcomes/*.json")} == outcomes


def studied(out, axis):
    """Scores by point in the optuna study of a search."""
    path = str(out / "search" / axis / "study.journal")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path))
    trials = optuna.load_study(study_name=axis, storage=storage).trials
    scores = {(trial.params["ratio"], trial.params["seed"]): trial.value for trial in trials}
    assert len(scores) == len(trials)
    return scores


@pytest.mark.slow
def test_optuna_loads_the_study_of_a_search(rehearsed):
    for axis in AXES:
        table = pq.read_table(rehearsed / "search" / axis / "trials.parquet").to_pylist()
        assert studied(rehearsed, axis) == {
            (row["ratio"], row["seed"]): row["score"] for row in table
        }


@pytest.mark.slow
def test_tune_reads_the_folder_of_a_search(rehearsed):
    from ray import tune

    from qsit_ray.search.trial import Trial

    path = str(rehearsed / "search" / AXES[0] / "tune")
    grid = tune.Tuner.restore(path, Trial).get_results()
    frame = grid.get_dataframe()
    assert len(grid) == len(frame) == 57
    assert grid.num_errors == 0
    best = grid.get_best_result("score", "max")
    assert best.metrics["score"] == frame["score"].max()


@pytest.mark.slow
def test_an_adaptive_search_killed_and_started_again_asks_for_the_same_trials(tmp_path):
    def command(out):
        return words(out, "rehearsal", {**QUICK, "search.adaptive": "{trials: 8}"})

    def tables(out):
        return [
            pq.read_table(out / "search" / axis / "trials.parquet")
            .drop_columns("device_seconds")
            .to_pylist()
            for axis in AXES
        ]

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert subprocess.run(command(whole), capture_output=True).returncode == 0
    outcomes = f"search/{AXES[0]}/outcomes/*.json"
    kill_when(lambda shown: len(list(cut.glob(outcomes))) >= 5, command(cut))
    assert subprocess.run(command(cut), capture_output=True).returncode == 0
    assert tables(cut) == tables(whole)
    assert all(len(table) == 8 for table in tables(whole))
    for out in (whole, cut):
        assert [studied(out, axis) for axis in AXES] == [
            {(row["ratio"], row["seed"]): row["score"] for row in table} for table in tables(out)
        ]
    ended = json.loads((whole / "search" / AXES[0] / "adaptive.json").read_text())
    assert (ended["trials"], ended["over"]) == (8, "budget")


def test_scouts_and_an_earlier_run_are_evidence(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    quick = {**QUICK, "search.adaptive": "{trials: 4}", "search.scouts": "{ratios: 3, share: 0.2}"}

    def fit(out):
        return json.loads((out / "search" / AXES[0] / "fit.json").read_text())

    done = subprocess.run(words(first, "rehearsal", quick), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for axis in AXES:
        scouts = pq.read_table(first / "search" / axis / "scouts.parquet").to_pydict()
        trials = pq.read_table(first / "search" / axis / "trials.parquet").to_pydict()
        assert scouts["ratio"] == [0.1, 1.0, 10.0]
        assert len(trials["ratio"]) == 4
        steps = [dict(zip(each["ratio"], each["steps"], strict=True)) for each in (scouts, trials)]
        assert all(steps[0][ratio] < steps[1][ratio] for ratio in (0.1, 10.0))
    assert "Gaussian process with evidence" in fit(first)["curves"]
    spent = json.loads(call("search", "show", first, "--json").stdout)["by_axis"]
    for axis in AXES:
        tables = [first / "search" / axis / f"{name}.parquet" for name in ("trials", "scouts")]
        seconds = sum(sum(pq.read_table(table)["device_seconds"].to_pylist()) for table in tables)
        assert spent[axis]["device_seconds"]["used"] == pytest.approx(seconds)
    # Without scouts, but with the first run: its proposals and its fit have other evidence.
    later = {**QUICK, "seed": 1, "search.adaptive": "{trials: 4}", "search.earlier": f"[{first}]"}
    build = ("data", "build", second, "--preset", "rehearsal", *sets(later))
    for command in (build, ("search", "run", second), ("fit", second)):
        done = call(*command)
        assert done.returncode == 0, done.stderr
    assert "Gaussian process with evidence" in fit(second)["curves"]
    # The run keeps what it took from the other.
    shutil.rmtree(first)
    assert not (second / "search" / AXES[1]).exists()
    done = call("search", "run", second)
    assert done.returncode == 0, done.stderr
    assert (second / "search" / AXES[1] / "trials.parquet").exists()


def test_an_earlier_run_without_trials_is_refused(tmp_path):
    settings = {**QUICK, "search.earlier": f"[{tmp_path / 'none'}]"}
    done = subprocess.run(
        words(tmp_path / "run", "rehearsal", settings), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "has no trials" in done.stderr
    assert not (tmp_path / "run" / "catalog").exists()
