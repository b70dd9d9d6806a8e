"""Trials through Ray Tune: one that keeps failing is reported, and costs no other."""

from functools import partial
from pathlib import Path

import pytest
from ray.tune.search import Searcher

from qsit_ray import artifacts
from qsit_ray.config import presets
from qsit_ray.config.files import override
from qsit_ray.config.search import Adaptive
from qsit_ray.data import catalog
from qsit_ray.mixture import Mixture
from qsit_ray.search import records
from qsit_ray.search.adaptive import propose
from qsit_ray.search.records import outcome_file
from qsit_ray.search.rehearsal import planted_score
from qsit_ray.search.trials import write_trials
from qsit_ray.search.tuner import Rounds
from qsit_ray.session import session
from qsit_ray.surrogate.curve import fit

RATIOS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
BROKEN, LAME = 1.0, (2.0, 1)


def mixture_at(ratio):
    if ratio == BROKEN:
        raise RuntimeError("planted: no such mixture")
    return Mixture(0, 100, 100)


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """Outcomes and reasons of a search where one ratio always fails, and its folder."""
    folder = tmp_path_factory.mktemp("search")
    config = override(presets.rehearsal(), ["search.rehearsal.rows_per_second=1000000"])
    catalog.write_counts(folder / "catalog", config.expected_sizes)
    from qsit_ray.search.trial import Task
    from qsit_ray.search.tuner import run_trials

    task = Task(
        config=config,
        catalog=folder / "catalog",
        features=Path(),
        base="",
        folder=folder,
        mixture_at=mixture_at,
        objective="interpreting",
        optimum=2.42,
    )

    class Bar:
        def update(self, done, total, note=""):
            self.shown = done, total

    bar = Bar()
    points = [(ratio, seed) for ratio in RATIOS for seed in (0, 1)]
    path = records.outcome_file(folder, *LAME)
    artifacts.write_json(path, {"ratio": LAME[0], "seed": LAME[1], "score": None})
    with session(4, pretend_gpus=4):
        outcomes, reasons = run_trials(task, points, bar)
    assert bar.shown == (12, 12)
    return folder, points, outcomes, reasons


def test_a_trial_that_fails_three_times_is_reported_and_the_others_stand(tried):
    folder, points, outcomes, reasons = tried
    broken = {(BROKEN, 0), (BROKEN, 1)}
    assert set(reasons) == broken
    assert set(outcomes) == set(points) - broken
    assert all("planted: no such mixture" in reason for reason in reasons.values())
    for point in broken:
        lines = artifacts.read_jsonl(records.attempts_file(folder, *point))
        assert [line["ended"] for line in lines] == ["failed"] * 3


def test_a_trial_with_an_outcome_is_not_run_again(tried):
    folder, _, outcomes, _ = tried
    assert outcomes[LAME]["score"] is None
    assert not records.attempts_file(folder, *LAME).exists()


def test_the_fit_says_what_is_missing(tried):
    folder, points, outcomes, reasons = tried
    rows = {ratio: Mixture(0, 100, 100) for ratio in RATIOS}
    table = write_trials(folder / "trials.parquet", points, outcomes, reasons, rows)
    failed = [row for row in table if row["status"] == "failed"]
    assert {row["ratio"] for row in failed} == {BROKEN}
    fitted = fit([row["ratio"] for row in table], [row["score"] for row in table], coordinate="log")
    assert fitted.dropped == 3
    assert "3 of 12 rows have no score" in fitted.verdict
    assert "no run is left at ratio 1" in fitted.verdict


SETTINGS = Adaptive(trials=10, batch=4, tolerance=1e-6)


@pytest.fixture
def rounds(tmp_path):
    proposer = partial(propose, SETTINGS, 0.1, 10.0, (0, 1, 2), 0)
    return lambda: Rounds(proposer, tmp_path)


def run(searcher, folder, until=None, failing=()):
    """What Tune does: ask, train, tell. Stops as if killed once `until` trials have been asked."""
    running, asked = {}, []
    while until is None or len(asked) < until:
        suggested = searcher.suggest(f"trial-{len(asked)}")
        if suggested == Searcher.FINISHED:
            break
        if suggested is None:
            for trial, (ratio, seed) in running.items():
                failed = len(asked) in failing
                path = outcome_file(folder, ratio, seed)
                if not failed and not path.exists():
                    score = planted_score(ratio, 2.42) + 0.001 * seed
                    artifacts.write_json(path, {"ratio": ratio, "seed": seed, "score": score})
                searcher.on_trial_complete(trial, None, error=failed)
            running = {}
            continue
        point = suggested["point"]["ratio"], suggested["point"]["seed"]
        running[f"trial-{len(asked)}"] = point
        asked.append(point)
    return asked


def test_a_search_asks_for_its_trials_in_rounds_and_ends(rounds, tmp_path):
    searcher = rounds()
    asked = run(searcher, tmp_path)
    assert len(asked) == SETTINGS.trials
    assert searcher.points == asked
    assert len(set(asked)) == len(asked)
    assert all(0.1 <= ratio <= 10 for ratio, _ in asked)
    assert all(score is not None for _, _, score in searcher.observed())


@pytest.mark.parametrize("killed_after", [1, 3, 5, 9])
def test_a_search_begun_anew_asks_for_the_same(rounds, tmp_path, killed_after):
    run(rounds(), tmp_path, until=killed_after)
    again = run(rounds(), tmp_path)
    for path in (tmp_path / "outcomes").iterdir():
        path.unlink()
    assert again == run(rounds(), tmp_path)


def test_a_trial_that_failed_counts_and_has_no_score(rounds, tmp_path):
    searcher = rounds()
    asked = run(searcher, tmp_path, failing=(4,))
    assert len(asked) == SETTINGS.trials
    assert [score for _, _, score in searcher.observed()].count(None) == 4
