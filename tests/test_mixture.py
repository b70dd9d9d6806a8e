"""The plan: exact counts, nested, the same for every world size."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.mixture import (
    DOMAINS,
    Mixture,
    checksum,
    from_ratios,
    half_up,
    mixture_on_axis,
    plan_epoch,
    ratios_at,
)

sizes = st.fixed_dictionaries({domain: st.integers(1, 60) for domain in DOMAINS})
counts = st.builds(Mixture, st.integers(0, 150), st.integers(0, 150), st.integers(1, 150))
seeds = st.integers(0, 2**31)


def uses(plan, size):
    return np.bincount(plan.rows, minlength=sum(size.values()))


def by_domain(values, size):
    cuts = np.cumsum([size[domain] for domain in DOMAINS])[:-1]
    return dict(zip(DOMAINS, np.split(values, cuts), strict=True))


@given(counts, sizes, seeds, st.integers(0, 5))
def test_counts_are_exact_and_uses_differ_by_at_most_one(mixture, size, seed, epoch):
    used = by_domain(uses(plan_epoch(mixture, size, epoch, seed, 8), size), size)
    for domain in DOMAINS:
        assert used[domain].sum() == mixture.counts()[domain]
        assert used[domain].max() - used[domain].min() <= 1


@given(counts, sizes, seeds, st.integers(0, 40))
def test_a_larger_mixture_contains_a_smaller_one(mixture, size, seed, more):
    larger = Mixture(mixture.scoring + more, mixture.interpreting + more, mixture.general + more)
    small, large = (plan_epoch(m, size, 0, seed, 8) for m in (mixture, larger))
    assert (uses(small, size) <= uses(large, size)).all()


@given(counts, sizes, seeds)
def test_epochs_use_the_same_rows_in_another_order(mixture, size, seed):
    first, second = (plan_epoch(mixture, size, epoch, seed, 8) for epoch in (0, 1))
    assert sorted(first.rows) == sorted(second.rows)
    if len(set(first.rows.tolist())) > 10:
        assert first.sha256 != second.sha256


@settings(deadline=None)
@given(st.lists(counts, min_size=1, max_size=5), sizes, seeds)
def test_epochs_of_fresh_rows_use_all_of_them_before_any_again(mixtures, size, seed):
    used, total = dict.fromkeys(DOMAINS, 0), 0
    for epoch, mixture in enumerate(mixtures):
        plan = plan_epoch(mixture, size, epoch, seed, 8, used)
        assert len(plan.rows) == mixture.total
        total = total + uses(plan, size)
        used = {domain: used[domain] + mixture.counts()[domain] for domain in DOMAINS}
        for domain, uses_of in by_domain(total, size).items():
            assert uses_of.sum() == used[domain]
            assert uses_of.max() - uses_of.min() <= 1


@given(counts, sizes, seeds, st.integers(1, 9))
def test_steps_together_hold_the_plan_and_its_checksum(mixture, size, seed, batch):
    plan = plan_epoch(mixture, size, 0, seed, batch)
    steps = [plan.step_rows(step) for step in range(plan.steps)]
    assert np.concatenate(steps).tolist() == plan.rows.tolist()
    assert all(len(rows) == batch for rows in steps[:-1])
    sums = [checksum(np.full_like(rows, step), rows) for step, rows in enumerate(steps)]
    assert sum(sums) % 2**64 == plan.planned


def test_sha256_is_of_little_endian_row_numbers():
    plan = plan_epoch(Mixture(3, 2, 1), dict.fromkeys(DOMAINS, 4), 2, 7, 4)
    expected = b"".join(int(row).to_bytes(8, "little") for row in plan.rows)
    assert plan.sha256 == hashlib.sha256(expected).hexdigest()


def test_the_checksum_changes_when_two_steps_swap_rows():
    steps, rows = np.array([0, 0, 1, 1]), np.array([3, 4, 5, 6])
    assert checksum(steps, rows) == checksum(steps[::-1], rows[::-1])
    assert checksum(steps, rows) != checksum(steps, np.array([3, 5, 4, 6]))


def test_an_empty_domain_is_refused_by_name():
    with pytest.raises(ValueError, match="general is empty"):
        plan_epoch(Mixture(1, 1, 1), {"scoring": 2, "interpreting": 2, "general": 0}, 0, 0, 4)


@pytest.mark.parametrize(
    ("ratio", "interpreting", "general"), [(0.1, 16, 160), (1.0, 160, 160), (10.0, 150, 15)]
)
def test_axis_a_sweeps_the_side_that_is_smaller(ratio, interpreting, general):
    size = {"scoring": 16, "interpreting": 160 if ratio == 1 else 150, "general": 160}
    mixture = mixture_on_axis("interpreting_general", ratio, size)
    assert mixture == Mixture(0, interpreting, general)


def test_axis_b_divides_the_blend_at_axis_as_optimum():
    size = {"scoring": 1000, "interpreting": 5, "general": 5}
    assert mixture_on_axis("interpreting_scoring", 3.54, size, 2.42) == Mixture(1000, 2505, 1035)


def test_axis_b_needs_axis_as_optimum():
    with pytest.raises(ValueError, match="needs the optimum"):
        mixture_on_axis("interpreting_scoring", 1.0, dict.fromkeys(DOMAINS, 4))


def test_the_papers_optimum_gives_the_papers_mix():
    ratios = ratios_at(2.42, 3.54)
    assert ratios["interpreting"] == pytest.approx(2.50, abs=0.005)
    assert ratios["general"] == pytest.approx(1.04, abs=0.005)


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_ratios_keep_both_searched_ratios(ratio_general, ratio_scoring):
    ratios = ratios_at(ratio_general, ratio_scoring)
    assert ratios["interpreting"] / ratios["general"] == pytest.approx(ratio_general)
    assert ratios["interpreting"] + ratios["general"] == pytest.approx(ratio_scoring)


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan"), float("inf")])
def test_a_ratio_must_be_positive(ratio):
    with pytest.raises(ValueError, match="expected a number above 0"):
        ratios_at(ratio, 1.0)


def test_halves_are_rounded_up():
    assert [half_up(v) for v in (0.5, 1.5, 2.5, 2.4999)] == [1, 2, 3, 2]
    ratios = {"scoring": 1.0, "interpreting": 0.5, "general": 2.5}
    assert from_ratios(ratios, 5) == Mixture(5, 3, 13)


def test_a_mixture_has_rows():
    with pytest.raises(ValueError, match="no rows"):
        Mixture(0, 0, 0)
    with pytest.raises(ValueError, match="general has -1 rows"):
        Mixture(1, 1, -1)
