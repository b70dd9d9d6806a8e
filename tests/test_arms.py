"""The arms of an ablation differ from the method in one thing each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qsit_pools import ratios

from qsit_ray import arms
from qsit_ray.arms import METHOD
from qsit_ray.config import presets
from qsit_ray.config.changes import differ
from qsit_ray.mixture import from_ratios

FOUND = ratios(1.0, 2.5, 1.04)
ALL = ratios(1.0, 12.0, 12.0)


def changes(arm, method):
    """Settings in which the arm differs from the method."""
    before, now = (each.config.model_dump(mode="json") for each in (method, arm))
    return {name for name, *_ in differ(before, now)}


def test_table_vii_has_the_papers_six_configurations():
    method, *others = arms.domains(presets.demo(), FOUND, ALL)
    mixes = {arm.name: tuple(arm.config.mix.values()) for arm in (method, *others)}
    assert method.config.mix == FOUND
    assert mixes == {
        METHOD: (1.0, 2.5, 1.04),
        "without-scoring": (0.0, 2.5, 1.04),
        "without-interpreting": (1.0, 0.0, 1.04),
        "without-general": (1.0, 2.5, 0.0),
        "without-coarse-ratio": (1.0, 12.0, 12.0),
        "without-fine-adjustment": (1.0, 2.5, 1.04),
        "without-both": (1.0, 12.0, 12.0),
    }
    adjusted = {arm.name for arm in (method, *others) if arm.config.train.controller is not None}
    assert adjusted == {METHOD, "without-general", "without-coarse-ratio"}


def test_the_controllers_arms_differ_in_the_training_alone():
    method, *others = arms.controllers(presets.demo(), FOUND)
    for arm in others:
        allowed = ("loss",) if arm.name.startswith("loss-") else ("train.",)
        assert all(name.startswith(allowed) for name in changes(arm, method)), arm.name
        assert changes(arm, method) or arm.rows_of
    assert len({arm.name for arm in (method, *others)}) == len(others) + 1


def test_scoring_is_trained_on_each_pool_of_d1():
    demo = presets.demo()
    pools = {"a": ["astronaut"], "b": ["china", "flower"]}
    method, *others = arms.scoring_pools(demo, FOUND, pools)
    assert [arm.name for arm in others] == ["scoring-on-a", "scoring-on-b"]
    for arm, names in zip(others, pools.values(), strict=True):
        assert changes(arm, method) == {"data.scoring", "data.scoring_photographs"}
        assert arm.config.data.scoring_photographs == tuple(names)
        assert arm.config.data.scoring == demo.data.scoring // 2
    _, *files = arms.scoring_pools(presets.resolve("paper"), FOUND, {})
    assert [arm.name for arm in files] == ["scoring-on-scoring_koniq", "scoring-on-scoring_spaq"]
    with pytest.raises(ValueError, match="one file"):
        arms.scoring_pools(presets.resolve("paper-trained-on-koniq"), FOUND, {})


def test_an_arm_that_the_run_is_itself_is_not_trained_twice():
    train = presets.demo().train
    fresh = presets.demo().model_copy(
        update={"train": train.model_copy(update={"epoch_rows": "fresh"})}
    )
    names = {arm.name for arm in arms.controllers(fresh, FOUND)}
    assert "fresh-rows" not in names
    assert "fresh-rows" in {arm.name for arm in arms.controllers(presets.demo(), FOUND)}


def test_a_run_without_a_controller_has_no_rules_to_compare():
    with pytest.raises(ValueError, match="controller"):
        arms.controllers(arms.fixed(presets.demo(), FOUND), FOUND)


def test_repeats_have_seeds_of_their_own_after_the_runs():
    (method, *_) = arms.domains(presets.demo().model_copy(update={"seed": 7}), FOUND, ALL)
    assert [arms.with_seed(method, seed).seed for seed in (0, 1)] == [7, 8]


@given(st.integers(100, 10_000), st.lists(st.floats(1.0, 2.0), max_size=5))
def test_equal_rows_are_the_same_mix_of_as_many_in_all(first, growths):
    rows = [first, *(round(first * growth) for growth in growths)]
    larger = arms.with_rows(arms.fixed(presets.demo(), FOUND), rows)
    base = first / sum(FOUND.values())
    mixture = from_ratios(larger.mix, 1_000_000)
    assert mixture.total * base / 1_000_000 * len(rows) == pytest.approx(sum(rows), rel=1e-5)
    assert larger.mix["interpreting"] / larger.mix["scoring"] == pytest.approx(2.5)


def test_a_mix_that_is_searched_has_no_rows_yet():
    with pytest.raises(ValueError, match="searched"):
        arms.with_rows(presets.demo(), [100])
