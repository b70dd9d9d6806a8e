"""Predicted shares of the levels against votes: 0 where they agree, and known values elsewhere."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy, wasserstein_distance
from typer.testing import CliRunner

from qsit_ray.cli.app import app
from qsit_ray.errors import InputError
from qsit_ray.evaluation import distributions
from qsit_ray.levels import LEVELS

FIGURES = ("kl", "js", "wasserstein", "std_error", "calibration_error")
counts = arrays(np.int64, (6, 5), elements=st.integers(1, 30)).map(lambda a: a.astype(float))


@settings(deadline=None, max_examples=30)
@given(counts, counts)
def test_the_figures_are_scipys_and_vanish_for_equal_shares(a, b):
    found = distributions.compare(a, b)
    p, q = a / a.sum(axis=1, keepdims=True), b / b.sum(axis=1, keepdims=True)
    assert found.kl == pytest.approx(entropy(q, p, axis=1).mean())
    middle = (p + q) / 2
    divergences = (entropy(p, middle, axis=1) + entropy(q, middle, axis=1)) / 2
    assert found.js == pytest.approx(divergences.mean(), abs=1e-12)
    numbers = np.arange(1, 6)
    moved = [wasserstein_distance(numbers, numbers, x, y) for x, y in zip(p, q, strict=True)]
    assert found.wasserstein == pytest.approx(np.mean(moved))
    assert 0 <= found.calibration_error <= 1
    same = distributions.compare(a, 3 * a)
    assert [getattr(same, name) for name in FIGURES] == pytest.approx([0] * 5, abs=1e-9)
    low, high = found.intervals["kl"]
    assert low <= high


def test_a_model_that_is_too_sure_is_not_calibrated():
    votes = np.tile([0.1, 0.2, 0.4, 0.2, 0.1], (50, 1))
    sure = np.tile([0.0, 0.0, 1.0, 0.0, 0.0], (50, 1))
    found = distributions.compare(sure, votes)
    assert found.calibration_error == pytest.approx((0.6 + 0.6) / 5)
    assert found.std_error == pytest.approx(np.sqrt(0.2 * 4 + 0.4))
    assert np.isfinite(found.kl)


@pytest.mark.parametrize("votes", [[[1, 1, 1, 1]], [[0] * 5], [[-1, 1, 1, 1, 1]], [[np.nan] * 5]])
def test_what_is_no_distribution_is_refused(votes):
    with pytest.raises(InputError, match="votes"):
        distributions.compare([[1, 0, 0, 0, 0]], votes)


def test_the_command_compares_level_logits_with_votes(tmp_path):
    rng = np.random.default_rng(0)
    votes = rng.integers(1, 20, (40, 5))
    logits = np.log(votes / votes.sum(axis=1, keepdims=True)) + 3.0
    frame = pd.DataFrame({"id": range(40), "mos": votes @ np.arange(1, 6) / votes.sum(axis=1)})
    for k, word in enumerate(LEVELS):
        frame[f"c{k}"], frame[word] = votes[:, k], logits[:, k]
    frame.to_csv(tmp_path / "p.csv", index=False)
    words = ["evaluate", "iqa", "--predictions", str(tmp_path / "p.csv"), "--id", "id"]
    words += ["--truth", "mos", "--json"]
    chosen = ",".join(f"{word}={word}" for word in LEVELS)
    counted = ",".join(f"{word}=c{k}" for k, word in enumerate(LEVELS))
    done = CliRunner().invoke(app, [*words, "--logits", chosen, "--votes", counted])
    found = json.loads(done.stdout)["distribution"]
    assert found["rows"] == 40
    assert [found[name] for name in FIGURES] == pytest.approx([0] * 5, abs=1e-9)
    refused = CliRunner().invoke(app, [*words, "--score", "mos", "--votes", counted])
    assert isinstance(refused.exception, InputError)
    assert "--votes" in str(refused.exception)
