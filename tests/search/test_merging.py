"""Merged experts: what a merge stands for, and a verdict that follows the figures."""

import json
import math
from dataclasses import replace

import pytest
from command_line import SMALL, call, sets
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.mixture import DOMAINS
from qsit_ray.search import merging
from qsit_ray.search.merging import Anchor, MergeCheck

LOSSES = ("loss_scoring", "loss_interpreting")


@given(st.integers(30, 10**6))
def test_a_merge_stands_for_the_mean_of_its_components_mixtures(rows):
    alone = [
        merging.mixture(merging.component(domain, DOMAINS), DOMAINS, rows) for domain in DOMAINS
    ]
    for parts in merging.anchors(DOMAINS):
        assert sum(parts) == pytest.approx(1)
        counts = merging.mixture(parts, DOMAINS, rows)
        for domain in DOMAINS:
            mean = sum(p * each[domain] for p, each in zip(parts, alone, strict=True))
            assert abs(counts[domain] - mean) <= 2
    for domain, counts in zip(DOMAINS, alone, strict=True):
        assert counts[domain] == max(counts.values())
        assert counts[domain] / sum(counts.values()) == pytest.approx(2 / 3, abs=0.05)


@given(
    st.fixed_dictionaries({domain: st.integers(1, 10**6) for domain in DOMAINS}), st.integers(1, 8)
)
def test_no_row_is_used_more_often_than_allowed(sizes, most):
    rows = merging.rows_of(sizes, most)
    for domain in DOMAINS:
        counts = merging.mixture(merging.component(domain, DOMAINS), DOMAINS, rows)
        assert all(counts[name] <= most * sizes[name] + 1 for name in DOMAINS)


def check(error):
    """Anchors whose trained log losses span 0.4, with merged ones that are off by `error`."""
    anchors = tuple(
        Anchor(parts, dict.fromkeys(LOSSES, at), dict.fromkeys(LOSSES, at + error))
        for parts, at in zip(merging.anchors(DOMAINS), (0.0, 0.1, 0.3, 0.4), strict=True)
    )
    return MergeCheck(dict.fromkeys(DOMAINS, 0.1), anchors)


@given(st.floats(-1, 1))
def test_merges_are_trusted_where_they_tell_the_anchors_apart(error):
    found = check(error)
    assert found.is_trusted == (max(found.errors.values()) < 0.2)
    assert ("do not follow" in found.verdict) != found.is_trusted
    one_loss = replace(
        found,
        anchors=tuple(
            replace(each, merged={**each.merged, "loss_scoring": each.trained["loss_scoring"] + 1})
            for each in found.anchors
        ),
    )
    assert not one_loss.is_trusted


@pytest.mark.slow
def test_a_check_trains_and_merges_and_keeps_what_it_trained(tmp_path):
    run = tmp_path / "run"
    settings = sets({**SMALL, "cache": tmp_path / "cache"})
    built = call("data", "build", run, "--preset", "demo", *settings)
    assert built.returncode == 0, built.stderr
    done = call("search", "merge-check", run, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == json.loads((run / "search" / "merge_check.json").read_text())
    assert len(found["anchors"]) == 4
    assert all(0 < moved < 1 for moved in found["displacement"].values())
    for anchor in found["anchors"]:
        assert all(math.isfinite(each) for each in anchor["merged"].values())
        # Four steps move the weights little: a merge is near the trained mixture.
        for loss in LOSSES:
            assert abs(anchor["merged"][loss] - anchor["trained"][loss]) < 0.5
    outcomes = {
        path: path.stat().st_mtime_ns for path in run.glob("search/merge_check/outcomes/*.json")
    }
    assert len(outcomes) == 7
    again = call("search", "merge-check", run)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in outcomes} == outcomes
    assert "Merged experts" in " ".join(again.stdout.split())


def test_a_rehearsal_has_nothing_to_merge(tmp_path):
    run = tmp_path / "run"
    assert call("data", "build", run, "--preset", "rehearsal").returncode == 0
    done = call("search", "merge-check", run)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "search.rehearsal: nothing is trained that could be merged" in done.stderr
