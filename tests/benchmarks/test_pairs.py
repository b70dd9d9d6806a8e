"""Sides run in turn, in fresh processes, and figures are ratios of their medians."""

import os
import sys

import pytest

from benchmarks import pairs
from benchmarks.figures import Goal, Spread, alone, faster, near, ratio
from benchmarks.pairs import Run, command, fresh, in_turn


def test_every_other_round_goes_backwards():
    called = []
    sides = {name: lambda name=name: called.append(name) or Run(1.0, 1.0) for name in "abc"}
    found = in_turn(sides, 3)
    assert "".join(called) == "abccbaabc"
    assert {name: len(runs) for name, runs in found.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_fresh_process_has_its_own_threads_and_returns_json():
    run = fresh("os:getenv", {"key": "OMP_NUM_THREADS"}, threads=3)
    assert run.result == "3" and run.wall > 0 and run.cpu > 0
    assert fresh("os:getpid", {}).result != os.getpid()
    assert fresh("os:getpid", {}, inside=True).result == os.getpid()


def test_cpu_seconds_are_those_of_the_command_too():
    spin = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    assert command([sys.executable, "-c", spin]).cpu >= 0.3


def test_a_command_that_fails_says_how_it_ended():
    with pytest.raises(RuntimeError, match=r"ended with 3: .*why"):
        command([sys.executable, "-c", "print('why'); raise SystemExit(3)"])
    with pytest.raises(RuntimeError, match="ended with 1"):
        fresh("os:no_such_name", {})


def test_a_ratio_is_of_medians_with_the_least_and_greatest_round():
    figure = faster("what", "rival", [1.0, 2.0, 4.0], [6.0, 6.0, 6.0], Goal(3))
    assert figure.value == Spread(3.0, 1.5, 6.0)
    assert figure.is_met and figure.ours == Spread(2.0, 1.0, 4.0)
    assert ratio("what", "rival", "a second", [6.0], [2.0], Goal(3.1)).is_met is False
    assert ratio("what", "rival", "GiB", [6.0], [12.0], Goal(0.5, at_most=True)).is_met
    assert alone("what", "s", [1.0, 5.0, 2.0]).value == Spread(2.0, 1.0, 5.0)
    assert alone("what", "s", [1.0]).is_met is None


def test_results_are_the_same_only_where_none_is_missing():
    assert near("x", [1.0, 2.0], [1.0, 2.1], 0.11).holds
    assert not near("x", [1.0, 2.0], [1.0, 2.2], 0.11).holds
    assert not near("x", [1.0, 2.0], [1.0], 1.0).holds
    assert not near("x", [], [], 1.0).holds
    assert not near("x", float("nan"), 1.0, 1.0).holds
    assert pairs.cores() >= 1
