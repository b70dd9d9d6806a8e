"""Rounds of an adaptive search: proposals see all earlier scores, and a restart repeats them."""

from functools import partial

import pytest
from ray.tune.search import Searcher

from qsit_ray import artifacts
from qsit_ray.config import Adaptive
from qsit_ray.search.adaptive import propose
from qsit_ray.search.records import outcome_file
from qsit_ray.search.rehearsal import planted_score
from qsit_ray.search.rounds import Rounds

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
