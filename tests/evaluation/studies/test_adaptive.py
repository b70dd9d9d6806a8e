import numpy as np
import pytest
from pages import read_section

from qsit_ray.evaluation.studies.adaptive import (
    BY_PROCESS,
    OVER_LOG,
    PAPERS,
    PROPOSERS,
    SEARCHES,
    SETTINGS,
    parts,
    peak,
    simulated,
    write,
)
from qsit_ray.evaluation.studies.response_curves import HIGH, KINDS, LOW, NOISES

RATIOS = np.geomspace(LOW, HIGH, 15)


@pytest.fixture(scope="module")
def peaks():
    return simulated("peak", 0.003, curves=6)


def test_fourteen_trials_lose_less_than_the_papers_quartic_on_its_full_grid(peaks):
    ours = np.median(peaks.adaptive)
    assert ours < np.median(peaks.regrets["grid", PAPERS])
    assert ours < np.median(peaks.regrets["grid", peaks.best_surrogate]) + 0.001
    assert all(end.trials <= SETTINGS.trials for end in peaks.ended)


def test_every_curve_is_searched_in_every_way(peaks):
    assert set(SEARCHES) == {"grid", "adaptive", *PROPOSERS}
    every = {(search, name) for search, surrogates in SEARCHES.items() for name in surrogates}
    assert set(peaks.regrets) == every
    assert {len(lost) for lost in peaks.regrets.values()} == {6}
    assert min(min(lost) for lost in peaks.regrets.values()) >= 0
    assert len(peaks.ended) == len(peaks.bounded) == len(peaks.early) == 6


def test_an_early_end_states_a_regret_under_the_tolerance():
    edges = simulated("edge", 0.003, curves=4)
    assert any(edges.early)
    for end, early in zip(edges.ended, edges.early, strict=True):
        assert early == (end.regret_left <= SETTINGS.tolerance)
        assert early == (end.over == "tolerance")
        assert early or end.trials == SETTINGS.trials


def test_fewer_curves_are_the_first_of_more(peaks):
    fewer = simulated("peak", 0.003, curves=2)
    for search in (("adaptive", BY_PROCESS), ("TPE", BY_PROCESS)):
        assert fewer.regrets[search] == peaks.regrets[search][:2]


@pytest.mark.parametrize("surrogate", [*OVER_LOG, PAPERS])
def test_each_surrogate_finds_the_top_of_its_own_curve(surrogate):
    x = RATIOS if surrogate == PAPERS else np.log(RATIOS)
    top = 4.2 if surrogate == PAPERS else np.log(4.2)
    assert peak(surrogate, RATIOS, 0.7 - 0.01 * (x - top) ** 2) == pytest.approx(4.2, rel=0.02)


def test_the_command_writes_its_section(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- adaptive: begin -->\nold\n<!-- adaptive: end -->\nafter\n")
    write(page, curves=1, seed=3)
    assert page.read_text().startswith("before\n") and "old" not in page.read_text()
    written = read_section(page, "adaptive")
    command = "`python -m evaluation.studies adaptive --out docs/SEARCH.md --curves 1 --seed 3`"
    found = [simulated(kind, noise, 1, 3) for kind in KINDS for noise in NOISES]
    assert written == "\n\n".join([command, *parts(found)])
