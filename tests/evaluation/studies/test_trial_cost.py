"""The fixed cost of a trial is read off a clock that the trials write."""

import pytest

from evaluation.studies.trial_cost import FRESH, REUSED, fixed_costs, table


def line(what, at, process=0.0):
    return {"what": what, "at": at, "process": process}


def test_the_first_trial_counts_from_its_process_and_later_ones_from_the_end_before():
    clock = [line("ready", 5.0, 2.0), line("end", 9.0, 2.0), line("ready", 9.5, 2.0)]
    clock += [line("end", 12.0, 2.0), line("ready", 16.0, 13.0), line("end", 17.0, 13.0)]
    assert fixed_costs(clock) == pytest.approx([3.0, 0.5, 4.0])


def test_the_table_gives_the_share_of_a_fresh_start():
    text = table({REUSED: [6.0, 0.5, 0.7], FRESH: [7.0, 8.0, 4.0]})
    assert "0.100 of a fresh start" in text
