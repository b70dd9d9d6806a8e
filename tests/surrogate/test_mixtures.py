"""The best mixture of several pools: planted ones are found, and none is made up."""

import json

import numpy as np
import pytest
from command_line import call
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.errors import InputError
from qsit_ray.surrogate.mixtures import fit_mixtures

NAMES = ("web", "code", "books")


def planted(seed, pools=3, rows=60, noise=0.01):
    """Weights, scores and the best shares of a response with one peak inside."""
    chance = np.random.default_rng(seed)
    best = chance.dirichlet(4 * np.ones(pools))
    shares = chance.dirichlet(np.ones(pools), size=rows)
    scores = 1 - np.sum((np.sqrt(shares) - np.sqrt(best)) ** 2, axis=1)
    weights = shares * chance.uniform(0.5, 20, (rows, 1))  # no need to add up to 1
    return weights, scores + noise * chance.normal(size=rows), best


def loss_at(shares, best):
    return float(np.sum((np.sqrt(shares) - np.sqrt(best)) ** 2))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.integers(3, 5), st.booleans())
def test_the_planted_mixture_is_found(seed, pools, minimize):
    weights, scores, best = planted(seed, pools)
    names = [f"w{number}" for number in range(pools)]
    found = fit_mixtures(names, weights, -scores if minimize else scores, minimize)
    assert sum(found.shares) == pytest.approx(1)
    assert found.told
    assert loss_at(found.shares, best) < 0.03
    assert found.score == pytest.approx(-1 if minimize else 1, abs=0.05)
    for share, (low, high) in zip(found.shares, found.intervals, strict=True):
        assert 0 <= low <= share <= high <= 1


def test_what_it_says_it_may_lose_is_seldom_exceeded():
    within = []
    for seed in range(40):
        weights, scores, best = planted(seed, rows=25, noise=0.03)
        shares = weights / weights.sum(axis=1, keepdims=True)
        found = fit_mixtures(NAMES, weights, scores)
        # Against the best between those tried, which is near the planted one or worse.
        reach = min(loss_at(each, best) for each in shares)
        within.append(loss_at(found.shares, best) - reach <= found.regret_left)
    assert np.mean(within) >= 0.9


@pytest.mark.parametrize("rows", [20, 60])
def test_noise_alone_seldom_tells_a_mixture_from_another(rows):
    told = []
    for seed in range(20):
        weights, _, _ = planted(seed, rows=rows)
        noise = np.random.default_rng(seed).normal(size=rows)
        told.append(fit_mixtures(NAMES, weights, noise).told)
    assert np.mean(told) <= 0.1


def test_nothing_beyond_the_tried_mixtures_is_proposed():
    """The score rises towards a pool alone, of which half was the most that was tried."""
    chance = np.random.default_rng(0)
    first = chance.uniform(0, 0.5, 40)
    rest = chance.uniform(0.2, 0.8, 40)
    shares = np.column_stack([first, (1 - first) * rest, (1 - first) * (1 - rest)])
    found = fit_mixtures(NAMES, shares, first)
    assert 0.45 < found.shares[0] <= shares[:, 0].max() + 1e-9


def test_repeats_of_a_mixture_are_left_out_together():
    """A noise that repeats share is no knowledge of other mixtures."""
    chance = np.random.default_rng(1)
    shares = chance.dirichlet(np.ones(3), size=12)
    scores = chance.normal(size=12)
    found = fit_mixtures(NAMES, shares.repeat(3, axis=0), scores.repeat(3))
    assert found.error > 0.8 * found.constant


def test_equal_scores_and_missing_ones():
    weights, scores, _ = planted(0)
    scores[3] = np.nan
    found = fit_mixtures(NAMES, weights, scores)
    assert (found.rows, found.dropped) == (59, 1)
    assert not fit_mixtures(NAMES, weights, np.full(60, 0.3)).told


@pytest.mark.parametrize(
    ("rows", "reason"), [(4, "4 rows with a score"), (1200, "1200 rows with a score")]
)
def test_too_few_and_too_many_rows_are_refused(rows, reason):
    weights, scores, _ = planted(0, rows=rows)
    with pytest.raises(InputError, match=reason):
        fit_mixtures(NAMES, weights, scores)


@pytest.mark.parametrize("extreme", [1e200, 1e160])
def test_numbers_beyond_computing_are_refused(extreme):
    weights, scores, _ = planted(0)
    with pytest.raises(InputError, match="beyond 1e"):
        fit_mixtures(NAMES, weights, scores * extreme)
    with pytest.raises(InputError, match="beyond 1e"):
        fit_mixtures(NAMES, weights * 1e150, scores)


def test_too_few_mixtures_are_refused():
    with pytest.raises(InputError, match="2 different mixtures; more than 3 are needed"):
        fit_mixtures(NAMES, np.array([[1, 1, 1], [1, 2, 3]] * 5), np.arange(10.0))


def test_the_command_line_takes_columns_of_weights(tmp_path):
    weights, scores, best = planted(3)
    table = tmp_path / "swarm.csv"
    lines = ["w_web,w_code,w_books,val_loss"]
    lines += [
        ",".join(map(str, [*row, 2 - score])) for row, score in zip(weights, scores, strict=True)
    ]
    table.write_text("\n".join(lines))
    columns = ["fit", table, "--x", "w_web,w_code,w_books", "--score", "val_loss"]
    refused = call(*columns)
    assert refused.returncode == 2
    assert "looks like a loss; give --minimize" in refused.stderr
    done = call(*columns, "--minimize", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["names"] == ["w_web", "w_code", "w_books"]
    assert loss_at(np.array(found["shares"]), best) < 0.03
    shown = call(*columns, "--minimize")
    assert "w_code" in shown.stdout
    assert "The best mixture between those tried" in " ".join(shown.stdout.split())
    wrong = call(*columns, "--minimize", "--confidence", 0)
    assert (wrong.returncode, "confidence 0" in wrong.stderr) == (2, True)
    wrong = call(*columns, "--minimize", "--degree", 4)
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
    assert "--degree belongs to one ratio" in wrong.stderr
    table.write_text("\n".join([*lines, "1,-2,0,1.0"]))
    wrong = call(*columns, "--minimize")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
    assert "swarm.csv, row 61 (line 62): weights [1.0, -2.0, 0.0]" in wrong.stderr
