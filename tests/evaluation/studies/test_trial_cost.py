"""The fixed cost of a trial is computed from the times that the trials note."""

import pytest

from qsit_ray.evaluation.studies.trial_cost import FRESH, REUSED, Tick, costs_table, fixed_costs


def test_the_first_trial_counts_from_its_process_and_later_ones_from_the_end_before():
    clock = [Tick("ready", 5.0, 2.0), Tick("end", 9.0, 2.0), Tick("ready", 9.5, 2.0)]
    clock += [Tick("end", 12.0, 2.0), Tick("ready", 16.0, 13.0), Tick("end", 17.0, 13.0)]
    assert fixed_costs(clock) == pytest.approx([3.0, 0.5, 4.0])


def test_the_table_gives_the_share_of_a_fresh_start():
    text = costs_table({REUSED: [6.0, 0.5, 0.7], FRESH: [7.0, 8.0, 4.0]})
    assert "0.100 of a fresh start" in text
