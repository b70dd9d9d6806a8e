"""On a few curves of each kind the recommended surrogate's interval includes the best ratio."""

from pathlib import Path

import numpy as np
import pytest
from pages import read_section

from qsit_ray.evaluation.studies.response_curves import KINDS, NOISES
from qsit_ray.evaluation.studies.surrogate import LEAST, QUARTICS, coverage_table, simulated, write
from qsit_ray.surrogate.comparison import RECOMMENDED

SEARCH = Path(__file__).parents[3] / "docs" / "SEARCH.md"


@pytest.mark.parametrize("kind", KINDS)
def test_the_recommended_interval_covers_on_a_few_curves(kind):
    found = list(simulated(kind, 0.006, curves=4, seed=11))
    assert {o.surrogate for o in found} == {RECOMMENDED, LEAST, *QUARTICS}
    recommended = [o for o in found if o.surrogate == RECOMMENDED]
    assert len(recommended) == 4
    assert sum(o.covered for o in recommended) >= 3
    assert np.median([o.regret for o in recommended]) < 0.002
    assert all(o.width >= 1 and o.regret >= 0 and o.tolerance >= 0.001 for o in found)


def test_a_quartic_over_the_ratio_misses_narrow_peaks_that_the_process_finds():
    found = list(simulated("two peaks", 0.003, curves=6, seed=0))
    regret = {
        name: np.median([o.regret for o in found if o.surrogate == name])
        for name in (RECOMMENDED, "quartic over ratio")
    }
    assert regret[RECOMMENDED] < 0.3 * regret["quartic over ratio"]


def test_the_command_writes_its_section(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- surrogate: begin -->\nstale\n<!-- surrogate: end -->\nafter\n")
    write(page, curves=1, seed=2)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "stale" not in text
    inside = read_section(page, "surrogate")
    command = "`python -m evaluation.studies surrogate --out docs/SEARCH.md --curves 1 --seed 2`"
    outcomes = [o for noise in NOISES for kind in KINDS for o in simulated(kind, noise, 1, 2)]
    assert inside == f"{command}\n\n{coverage_table(outcomes)}"
    assert inside.count("(recommended)") == len(NOISES)


def test_the_page_reports_that_the_recommended_interval_covers():
    """The page's own rows: nine in ten at each noise."""
    page = read_section(SEARCH, "surrogate")
    rows = [line.split(" | ") for line in page.splitlines() if "(recommended)" in line]
    assert [row[0] for row in rows] == ["| 0.3", "| 0.6", "| 1.0"]
    assert all(float(row[2]) >= 0.9 for row in rows)
