import numpy as np
import pytest
from pages import read_section

from evaluation.studies.order import GOAL, SHORTEST, section, simulated, write
from qsit_ray.config.presets import paper

PLATEAU, LONGEST = SHORTEST


def test_on_the_second_axis_only_the_longest_first_is_near_the_bound():
    found = simulated(paper(), "interpreting_scoring", PLATEAU, searches=40)
    assert found.trials == 57
    assert found.spread == pytest.approx(10, rel=0.01)
    assert found.longest_first.max() < GOAL < np.median(found.grid)
    assert found.longest_first.min() >= 1


def test_without_chance_every_search_is_the_same():
    found = simulated(paper(), "interpreting_general", LONGEST, searches=3)
    assert np.ptp(found.longest_first) == 0
    assert np.array_equal(found.longest_first, found.oracle)


def test_a_search_is_a_function_of_its_seed():
    few = simulated(paper(), "interpreting_scoring", PLATEAU, searches=2, seed=3)
    more = simulated(paper(), "interpreting_scoring", PLATEAU, searches=4, seed=3)
    other = simulated(paper(), "interpreting_scoring", PLATEAU, searches=2, seed=4)
    assert np.array_equal(few.grid, more.grid[:2])
    assert not np.array_equal(few.grid, other.grid)


def test_the_command_writes_its_section(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- order: begin -->\nold\n<!-- order: end -->\nafter\n")
    write(page, searches=2, seed=1)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    command = read_section(page, "order").split("`")[1]
    assert command.startswith("python -m evaluation.studies order")
    found = [
        simulated(paper(), axis, e, 2, 1)
        for axis in ("interpreting_general", "interpreting_scoring")
        for e in SHORTEST
    ]
    assert read_section(page, "order") == section(found, command)
