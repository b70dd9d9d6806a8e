"""What the controller did, in words."""

import pytest
from planted_run import SIZES
from qsit_pools import losses

from qsit_ray.mixture import Mixture
from qsit_ray.report import decisions
from qsit_ray.run_files import EpochLine


def line(number, ratio, verdict, sizes=(100, 200, 50), then=None, reference=0.2, tolerance=0.05):
    return EpochLine(
        number, Mixture(dict(zip(SIZES, sizes, strict=True))), losses(ratio, 1.0), ratio, reference,
        verdict, then and Mixture(dict(zip(SIZES, then, strict=True))), None, None, "", 0, 0,
        0, 0, 0, 0, {}, tolerance,
    )  # fmt: skip


GREW = line(0, 0.1, "grow_interpreting", then=(80, 240, 60))
SHRANK = line(1, 0.3, "grow_scoring", (80, 240, 60), (96, 200, 50))
HELD = line(2, 0.202, "hold", then=(100, 200, 50))
LAST = line(3, 0.18, "grow_interpreting")


def test_nothing_is_said_without_an_epoch():
    assert (decisions.summary([]), decisions.told([])) == ("", [])


def test_the_summary_counts_and_tells_the_way_to_the_reference():
    assert decisions.summary([GREW, SHRANK, HELD, LAST]) == (
        "Over 4 epochs the controller decided twice for more D2 and D3, once for more D1 and once "
        "for the same sizes. The loss ratio came nearer to λ: 50 % below λ after epoch 0, "
        "10 % below λ after epoch 3."
    )
    assert "went away from λ" in decisions.summary([HELD, SHRANK])
    assert decisions.summary([GREW]) == (
        "Over 1 epoch the controller decided once for more D2 and D3. "
        "The loss ratio was 50 % below λ."
    )


@pytest.mark.parametrize(
    ("epoch", "text"),
    [
        (
            GREW,
            "After epoch 0: L_S / L_I = 0.100, below λ = 0.200; scoring is ahead, so the other "
            "side is to grow: D2 and D3 from 250 to 300 rows and D1 from 100 to 80 rows.",
        ),
        (
            SHRANK,
            "After epoch 1: L_S / L_I = 0.300, above λ = 0.200; interpreting is ahead, so the "
            "other side is to grow: D2 and D3 from 300 to 250 rows and D1 from 80 to 96 rows.",
        ),
        (
            HELD,
            "After epoch 2: L_S / L_I = 0.202, within ±5 % of λ = 0.200, so the sizes stay.",
        ),
        (
            LAST,
            "After epoch 3: L_S / L_I = 0.180, below λ = 0.200; scoring is ahead, and no epoch "
            "follows.",
        ),
        (
            line(4, 0.1, "grow_interpreting", then=(100, 200, 50)),
            "After epoch 4: L_S / L_I = 0.100, below λ = 0.200; scoring is ahead, so the other "
            "side is to grow, but a limit keeps the sizes.",
        ),
    ],
)
def test_each_decision_is_told(epoch, text):
    assert decisions.told([epoch]) == [text]


def test_without_a_reference_the_sizes_stay():
    alone = line(0, 0.1, "hold", then=(100, 200, 50), reference=None, tolerance=None)
    assert decisions.summary([alone]).startswith("Without λ")
    assert decisions.told([alone]) == []


def test_of_many_epochs_the_last_are_told():
    many = [line(n, 0.1, "grow_interpreting", then=(80, 240, 60)) for n in range(20)]
    told = decisions.told(many)
    assert len(told) == decisions.MOST_TOLD and told[-1].startswith("After epoch 19")
