import numpy as np
import pytest
from pages import read_section

from qsit_ray.config.presets import paper
from qsit_ray.evaluation.studies.order import GOAL, SHORTEST, orders_table, simulated, write

PLATEAU, LONGEST = SHORTEST


def test_on_the_second_axis_only_the_longest_first_is_near_the_bound():
    found = simulated(paper(), "interpreting_scoring", PLATEAU, searches=40)
    assert found.spread == pytest.approx(10, rel=0.01)
    ours = found.over_bound["longest first"]
    assert ours.shape == (40,)
    assert ours.min() >= 1 and ours.max() < GOAL < np.median(found.over_bound["grid order"])


def test_without_chance_every_search_is_the_same():
    found = simulated(paper(), "interpreting_general", LONGEST, searches=3)
    ours = found.over_bound["longest first"]
    assert np.ptp(ours) == 0
    assert np.array_equal(ours, found.over_bound["oracle"])


def test_a_search_is_a_function_of_its_seed():
    few, more, other = (
        simulated(paper(), "interpreting_scoring", PLATEAU, searches, seed).over_bound["grid order"]
        for searches, seed in ((2, 3), (4, 3), (2, 4))
    )
    assert np.array_equal(few, more[:2])
    assert not np.array_equal(few, other)


def test_the_command_writes_its_section(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- order: begin -->\nold\n<!-- order: end -->\nafter\n")
    write(page, searches=2, seed=1)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    command = "`python -m evaluation.studies order --out docs/SEARCH.md --searches 2 --seed 1`"
    found = [
        simulated(paper(), axis, e, 2, 1)
        for axis in ("interpreting_general", "interpreting_scoring")
        for e in SHORTEST
    ]
    assert read_section(page, "order") == f"{command}\n\n{orders_table(found)}"
