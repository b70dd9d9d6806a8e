"""The plan: exact counts, nested, the same for every world size."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.mixture import (
    DOMAINS,
    Mixture,
    axes_of,
    checksum,
    from_ratios,
    half_up,
    mixture_on_axis,
    plan_epoch,
    ratios_at,
)

FIRST, SECOND = axes_of(DOMAINS)
sizes = st.tuples(*3 * [st.integers(1, 60)]).map(lambda rows: dict(zip(DOMAINS, rows, strict=True)))
counts = st.builds(Mixture.of, st.integers(0, 150), st.integers(0, 150), st.integers(1, 150))
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
        assert used[domain].sum() == mixture[domain]
        assert used[domain].max() - used[domain].min() <= 1


@given(counts, sizes, seeds, st.integers(0, 40))
def test_a_larger_mixture_contains_a_smaller_one(mixture, size, seed, more):
    larger = Mixture({pool: rows + more for pool, rows in mixture.items()})
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
        used = {domain: used[domain] + mixture[domain] for domain in DOMAINS}
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
    plan = plan_epoch(Mixture.of(3, 2, 1), dict.fromkeys(DOMAINS, 4), 2, 7, 4)
    expected = b"".join(int(row).to_bytes(8, "little") for row in plan.rows)
    assert plan.sha256 == hashlib.sha256(expected).hexdigest()


def test_the_checksum_changes_when_two_steps_swap_rows():
    steps, rows = np.array([0, 0, 1, 1]), np.array([3, 4, 5, 6])
    assert checksum(steps, rows) == checksum(steps[::-1], rows[::-1])
    assert checksum(steps, rows) != checksum(steps, np.array([3, 5, 4, 6]))


def test_an_empty_domain_is_refused_by_name():
    with pytest.raises(ValueError, match="general is empty"):
        plan_epoch(Mixture.of(1, 1, 1), {"scoring": 2, "interpreting": 2, "general": 0}, 0, 0, 4)


@pytest.mark.parametrize(
    ("ratio", "interpreting", "general"), [(0.1, 16, 160), (1.0, 160, 160), (10.0, 150, 15)]
)
def test_axis_a_sweeps_the_side_that_is_smaller(ratio, interpreting, general):
    size = {"scoring": 16, "interpreting": 160 if ratio == 1 else 150, "general": 160}
    mixture = mixture_on_axis(FIRST, ratio, size, {})
    assert mixture == Mixture.of(0, interpreting, general)


def test_axis_b_divides_the_blend_at_axis_as_optimum():
    size = {"scoring": 1000, "interpreting": 5, "general": 5}
    found = mixture_on_axis(SECOND, 3.54, size, {FIRST.name: 2.42})
    assert found == Mixture.of(1000, 2505, 1035)


def test_axis_b_needs_axis_as_optimum():
    with pytest.raises(ValueError, match="needs the optimum of interpreting_general"):
        mixture_on_axis(SECOND, 1.0, dict.fromkeys(DOMAINS, 4), {})


@pytest.mark.parametrize(
    ("pools", "axes"),
    [
        ("ab", {"b_a": ("b", "a")}),
        ("abc", {"b_c": ("b", "c"), "b_a": ("bc", "a")}),
        ("abcd", {"c_d": ("c", "d"), "c_b": ("cd", "b"), "c_a": ("bcd", "a")}),
    ],
)
def test_two_three_and_four_pools_have_one_ratio_less(pools, axes):
    assert {axis.name: ("".join(axis.over), axis.under) for axis in axes_of(pools)} == axes


def test_the_papers_axes_are_those_of_its_pools():
    assert [axis.name for axis in axes_of(DOMAINS)] == [
        "interpreting_general",
        "interpreting_scoring",
    ]


@given(st.integers(2, 4), st.lists(st.floats(0.01, 100), min_size=3, max_size=3))
def test_the_mix_keeps_each_searched_ratio(count, values):
    pools = "abcd"[:count]
    axes = axes_of(pools)
    optima = {axis.name: value for axis, value in zip(axes, values, strict=False)}
    ratios = ratios_at(pools, optima)
    assert [*ratios] == [*pools]
    assert ratios["a"] == 1
    for axis in axes:
        over = sum(ratios[pool] for pool in axis.over)
        assert over / ratios[axis.under] == pytest.approx(optima[axis.name])


@given(st.integers(2, 4), st.floats(0.05, 20), st.integers(1, 10**6))
def test_a_point_of_an_axis_has_its_ratio_and_no_other_pools(count, ratio, rows):
    pools = "abcd"[:count]
    axes = axes_of(pools)
    optima = dict.fromkeys((axis.name for axis in axes), 1.5)
    for axis in axes:
        mixture = mixture_on_axis(axis, ratio, dict.fromkeys(pools, 100 * rows), optima)
        assert {pool for pool in pools if mixture[pool]} <= {axis.under, *axis.over}
        over = sum(mixture[pool] for pool in axis.over)
        assert over / mixture[axis.under] == pytest.approx(ratio, rel=0.2)
        assert mixture[axis.under] == 100 * rows or not axis.takes_all


@given(st.integers(2, 4), st.integers(1, 60), seeds)
def test_any_number_of_pools_is_planned_exactly(count, rows, seed):
    pools = "abcd"[:count]
    size = {pool: 10 + number for number, pool in enumerate(pools)}
    mixture = Mixture(dict.fromkeys(pools, rows))
    plan = plan_epoch(mixture, size, 0, seed, 8)
    found = np.split(uses(plan, size), np.cumsum([*size.values()])[:-1])
    for of_pool in found:
        assert of_pool.sum() == rows
        assert of_pool.max() - of_pool.min() <= 1


def test_the_papers_optimum_gives_the_papers_mix():
    ratios = ratios_at(DOMAINS, {FIRST.name: 2.42, SECOND.name: 3.54})
    assert ratios["interpreting"] == pytest.approx(2.50, abs=0.005)
    assert ratios["general"] == pytest.approx(1.04, abs=0.005)


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_ratios_keep_both_searched_ratios(ratio_general, ratio_scoring):
    ratios = ratios_at(DOMAINS, {FIRST.name: ratio_general, SECOND.name: ratio_scoring})
    assert ratios["interpreting"] / ratios["general"] == pytest.approx(ratio_general)
    assert ratios["interpreting"] + ratios["general"] == pytest.approx(ratio_scoring)


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan"), float("inf")])
def test_a_ratio_must_be_positive(ratio):
    with pytest.raises(ValueError, match="expected a number above 0"):
        ratios_at(DOMAINS, {FIRST.name: ratio, SECOND.name: 1.0})


def test_halves_are_rounded_up():
    assert [half_up(v) for v in (0.5, 1.5, 2.5, 2.4999)] == [1, 2, 3, 2]
    ratios = {"scoring": 1.0, "interpreting": 0.5, "general": 2.5}
    assert from_ratios(ratios, 5) == Mixture.of(5, 3, 13)


def test_a_mixture_has_rows():
    with pytest.raises(ValueError, match="no rows"):
        Mixture.of(0, 0, 0)
    with pytest.raises(ValueError, match="general has -1 rows"):
        Mixture.of(1, 1, -1)
