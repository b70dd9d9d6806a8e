"""In a loop with a model of two tasks the controller brings the ratio to λ and keeps it there."""

import numpy as np
import pytest
from pages import read_section

from qsit_ray.config.train import Controller
from qsit_ray.evaluation.studies.controller import (
    EPOCHS,
    RULES,
    Toy,
    rules_table,
    simulated,
    toy_run,
    within,
    write,
)

# Deviations that twice the rows can correct in this toy.
REACHABLE = (0.85, 0.9, 1.1, 1.15)


@pytest.mark.parametrize("start", REACHABLE)
@pytest.mark.parametrize(
    "rule",
    [
        Controller(step=0.1),
        Controller(),
        Controller(step=0.4),
        Controller(step_rule="proportional", gain=0.5),
        Controller(step_rule="proportional", gain=1.0),
        Controller(step_rule="proportional", gain=2.0),
        Controller(step_rule="proportional", gain=4.0),
    ],
)
def test_without_noise_the_ratio_enters_the_band_and_stays(start, rule):
    found = toy_run(Toy(start, noise=0.0), rule, 40, seed=0)
    assert abs(found.deviation[0]) > 0.05
    assert np.all(np.abs(found.deviation[-10:]) <= 0.05 + 1e-9)
    assert set(found.verdicts[-10:]) == {"hold"}
    assert found.turns <= 1


def test_a_deviation_beyond_the_cap_shrinks_and_settles():
    found = toy_run(Toy(0.5, noise=0.0), Controller(), 40, seed=0)
    distance = np.abs(found.deviation)
    assert np.all(np.diff(distance) <= 1e-12)
    assert distance[-1] < 0.9 * distance[0]
    assert found.turns == 0


def mean_turns(runs):
    return np.mean([run.turns for run in runs])


def test_with_noise_it_rarely_turns_and_is_better_than_no_controller():
    alone, default = (simulated(n, 40) for n in ("no controller", "fixed, step 0.2 (default)"))
    assert {run.growth for run in alone} == {1}
    remaining = [np.median([run.remaining for run in runs]) for runs in (default, alone)]
    assert remaining[0] < 0.5 * remaining[1]
    assert mean_turns(default) < 0.5


def test_a_gain_far_too_large_turns_often_and_grows_both_sides():
    name = next(name for name in RULES if "gain 12" in name)
    wild, calm = simulated(name, 40), simulated("proportional, gain 2, cap 4", 40)
    assert mean_turns(wild) > 10 * mean_turns(calm)
    assert within(wild, 12) < within(calm, 12)
    assert np.mean([run.growth for run in wild]) > np.mean([run.growth for run in calm])


def test_a_run_is_a_function_of_its_seed():
    one, same, other = (toy_run(Toy(0.9), Controller(), EPOCHS, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.deviation, same.deviation)
    assert one.deviation.shape == (EPOCHS,)
    first, second = (simulated("fixed, step 0.1", 8, seed) for seed in (1, 2))
    assert any(
        not np.array_equal(a.deviation, b.deviation) for a, b in zip(first, second, strict=True)
    )
    # Noise is in the observed losses, not in the true ones.
    assert other.deviation[0] == one.deviation[0]


def test_the_command_writes_its_section_and_its_plot(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- simulation: begin -->\nold\n<!-- simulation: end -->\nafter\n")
    write(page, runs=8, seed=1)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    command = "`python -m evaluation.studies controller --out docs/CONTROLLER.md --runs 8 --seed 1`"
    found = {name: simulated(name, 8, 1) for name in RULES}
    assert read_section(page, "simulation") == f"{command}\n\n{rules_table(found)}"
    picture = (tmp_path / "controller.svg").read_bytes()
    write(page, runs=8, seed=1)
    assert (tmp_path / "controller.svg").read_bytes() == picture
