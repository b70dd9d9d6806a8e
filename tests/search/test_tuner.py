"""Trials through Ray Tune: one that keeps failing is reported, and costs no other."""

from pathlib import Path

import pytest

from qsit_ray import artifacts, presets
from qsit_ray.config import override
from qsit_ray.data import catalog
from qsit_ray.mixture import Mixture
from qsit_ray.search import records
from qsit_ray.search.space import write_trials
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
