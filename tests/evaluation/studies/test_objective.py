"""Noise and spread of an objective are those that were planted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import read_section

from qsit_ray.artifacts import RunFolder
from qsit_ray.errors import InputError
from qsit_ray.evaluation.studies import objective
from qsit_ray.mixture import AXES
from qsit_ray.search.trials import TrialOutcome, write_trials

RATIOS, SEEDS = np.linspace(-1, 1, 40), 50


@given(st.integers(0, 2**20), st.floats(0.01, 0.1), st.floats(0.1, 0.5))
def test_noise_and_spread_are_told_apart(seed, noise, spread):
    rng = np.random.default_rng(seed)
    accuracy = rng.normal(scale=0.2, size=(40, SEEDS))
    values = spread * RATIOS[:, None] + rng.normal(scale=noise, size=(40, SEEDS))
    found = objective.told(values, accuracy)
    assert found.noise == pytest.approx(noise, rel=0.1)
    assert found.spread == pytest.approx(spread * RATIOS.std(ddof=1), rel=0.3)
    assert objective.told(-values, values).agreement == pytest.approx(-1)


def test_the_study_writes_both_objectives_of_every_search(tmp_path):
    run = RunFolder(tmp_path / "seed 0")
    rows = [
        TrialOutcome(ratio, seed, accuracy=0.4 + 0.1 * seed, probability=0.3 + 0.01 * ratio)
        for ratio in (0.1, 1.0, 10.0)
        for seed in (0, 1)
    ]
    for axis in AXES:
        write_trials(run.trials(axis), rows)
    page = tmp_path / "page.md"
    page.write_text("<!-- objective: begin -->\n<!-- objective: end -->\n")
    objective.write([run.path], page, "qsit run")
    text = read_section(page, "objective")
    assert text.count("| accuracy | 0.071 | 0.000 |") == 2
    assert text.count("| probability | 0.000 | 0.055 |") == 2


def test_a_trial_without_a_value_is_refused():
    rows = [TrialOutcome(1.0, 0, accuracy=0.4), TrialOutcome(1.0, 1)]
    with pytest.raises(InputError, match="every trial"):
        objective.by_ratio(rows, "accuracy")
