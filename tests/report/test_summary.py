"""The answer: gain over several data sets, cost by part, and how sure the searches are."""

import pytest
from planted_run import CONFIG, fit, search

from qsit_ray.artifacts import RunFolder, StageRecord
from qsit_ray.evaluation.intervals import Difference
from qsit_ray.report import summary
from qsit_ray.report.ledger import Ledger
from qsit_ray.report.paired import PairedTest
from qsit_ray.report.searches import search_view
from qsit_ray.search.records import search_cost


def gained(dataset, value, interval, p_value=0.5, metric="SRCC", b="primary_untrained"):
    found = Difference(0.5, 0.5 - value, value, interval)
    return PairedTest("primary", b, dataset, metric, 100, found, p_value, "Williams")


def test_the_gain_of_several_data_sets_is_their_mean():
    tests = [
        gained("koniq", 0.2, (0.1, 0.3)),
        gained("spaq", 0.1, (-0.1, 0.3)),
        gained("koniq", 0.9, (0.8, 1.0), b="proxy"),
        gained("questions", 0.021, (0.001, 0.041), 0.04, "accuracy"),
    ]
    assert summary.gain(tests) == (
        "Against the untrained primary: SRCC +0.150 in the mean of 2 data sets, with an interval "
        "above 0 in 1 of them; accuracy +2.1 points (+0.1 to +4.1, p = 0.040)."
    )
    assert summary.gain(tests[2:3]) == ""


def test_undefined_differences_are_left_out():
    test = PairedTest("primary", "primary_untrained", "d", "SRCC", 3, Difference(None, None), 1, "")
    assert summary.gain([test]) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0.500 s"), (119, "119 s"), (180, "3.00 min"), (7200, "2.00 h"), (2.592e6, "720 h")],
)
def test_durations(seconds, text):
    assert summary.duration(seconds) == text


def test_the_cost_is_told_by_part_and_against_the_paper(tmp_path):
    stages = {
        "search x": StageRecord("", 10.0, 36000.0),
        "train": StageRecord("", 10.0, 7200.0),
    }
    from qsit_ray.search.trials import TrialOutcome

    trials = {
        "interpreting_general": search_cost(
            tmp_path, [TrialOutcome(1.0, 0, device_seconds=36000.0)]
        )
    }
    costs = Ledger(stages, trials)
    assert summary.cost(costs) == (
        "12.0 h of device time, of which 10.0 h for the search and 2.00 h for the primary; the "
        "paper: 720 and 72 GPU-hours of an A800."
    )
    rows = [(hours, papers) for _, hours, papers in summary.against_paper(costs)]
    assert rows == [(10.0, 720), (2.0, 72), (12.0, 792), (None, 2800)]
    assert "paper" not in summary.cost(costs, is_papers=False)
    assert summary.cost(Ledger({}, {})) == ""
    assert summary.paper_share(36.0, 720).replace("\xa0", " ") == "5.0 %"
    assert (summary.paper_share(0.1, 720), summary.paper_share(None, 720)) == ("< 0.1 %", "–")


def test_the_interval_and_the_doubts_of_a_search_are_told(tmp_path):
    run = RunFolder(tmp_path)
    assert summary.certainty([search_view(run, CONFIG, "interpreting_general")]) == []
    found = fit(run, "interpreting_general", search(run, "interpreting_general"))
    told = summary.certainty([search_view(run, CONFIG, "interpreting_general")])
    assert len(told) == 1 and told[0].startswith("D2 : D3 = ")
    assert "95 % interval" in told[0]
    assert all(doubt in told[0] for doubt in found.doubts)
