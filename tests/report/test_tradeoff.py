"""Both tasks over the trials: means of mixes, and the front."""

from hypothesis import given, settings
from hypothesis import strategies as st
from qsit_pools import losses

from qsit_ray.report import score_plots
from qsit_ray.report.tradeoff import tradeoff
from qsit_ray.search.records import FINAL_PROXIES
from qsit_ray.search.trials import TrialOutcome

TITLES = {"interpreting_general": "D2 : D3", "interpreting_scoring": "B", FINAL_PROXIES: "proxies"}


def row(ratio, accuracy, srcc, seed=0, loss=None):
    return TrialOutcome(
        ratio, seed, accuracy=accuracy, srcc=srcc, losses=losses(1.0 if loss is None else loss, 1.0)
    )


def test_the_front_is_of_the_means_of_the_searches():
    found = tradeoff(
        {
            "interpreting_general": [
                row(0.1, 0.4, 0.6), row(0.1, 0.6, 0.8, seed=1),  # mean 0.5, 0.7: on it
                row(1.0, 0.9, 0.1),  # best in one
                row(2.0, 0.5, 0.6),  # beaten
            ],
            "interpreting_scoring": [row(1.0, 0.2, 0.9), row(3.0, 0.2, 0.8)],
            FINAL_PROXIES: [row(1.0, 1.0, 1.0)],  # not of the searches
        },
        TITLES,
    )  # fmt: skip
    front = [(mix.search, mix.interpreting, mix.scoring) for mix in found.mixes if mix.on_front]
    assert front == [
        ("interpreting_scoring", 0.2, 0.9),
        ("interpreting_general", 0.5, 0.7),
        ("interpreting_general", 0.9, 0.1),
    ]
    assert found.y_title == "SRCC on validation images"
    assert len(next(mix for mix in found.mixes if mix.interpreting == 0.5).trials) == 2
    svg = score_plots.tradeoff(found)
    assert "D2 : D3 = 0.1 · mean of 2 · accuracy 0.500 · scoring 0.700" in svg


def test_losses_stand_in_where_a_correlation_is_missing():
    rows = [row(r, 0.5 + r / 10, None if r == 2 else 0.3, loss=r) for r in (1.0, 2.0, 3.0)]
    found = tradeoff({"interpreting_general": rows}, TITLES)
    assert "L_S" in found.y_title
    assert [mix.scoring for mix in found.mixes] == [-1.0, -2.0, -3.0]


def test_few_mixes_have_no_view():
    assert tradeoff({}, TITLES) is None
    rows = [row(1.0, 0.5, 0.5), row(2.0, 0.5, 0.5), TrialOutcome(3.0, 0)]
    assert tradeoff({"interpreting_general": rows}, TITLES) is None


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=12))
def test_no_mix_beats_one_of_the_front_and_each_other_is_beaten(points):
    rows = [row(n + 1.0, x / 8, y / 8) for n, (x, y) in enumerate(points)]
    mixes = tradeoff({"interpreting_general": rows}, TITLES).mixes
    for mix in mixes:
        beaten = any(
            o.interpreting >= mix.interpreting and o.scoring >= mix.scoring
            and (o.interpreting, o.scoring) != (mix.interpreting, mix.scoring)
            for o in mixes
        )  # fmt: skip
        assert mix.on_front != beaten
