"""The sentence of a comparison, and what a page shows of images that went away."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from qsit_ray.cli.compare import MOST_CASES
from qsit_ray.evaluation.differences import PairedDifference, paired_difference
from qsit_ray.rating.pairs import Pair, ScoredPair
from qsit_ray.rating.results import Reject
from qsit_ray.report import score_plots
from qsit_ray.report.pairs_page import MOST_REJECTS, Compared, render, sentence

CONDITIONS = {
    "model": "m", "profile": "paper", "score_range": [1.0, 5.0], "precision": "float32",
}  # fmt: skip

SCALE = "on a scale from 1 to 5"


def result(difference, interval, p_value, reason=None, pairs=200):
    return PairedDifference(
        pairs, 3.0, 3.0 + difference, difference, interval, p_value, reason, 1, 0, 0
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            result(-0.31, (-0.4, -0.22), 0.0002),
            f"B is lower than A by 0.310 [0.220, 0.400] {SCALE}; p = 0.00020, n = 200.",
        ),
        (
            result(0.31, (0.22, 0.4), 0.04),
            f"B is higher than A by 0.310 [0.220, 0.400] {SCALE}; p = 0.040, n = 200.",
        ),
        (
            result(-0.0001, (-0.02, 0.03), 0.512),
            f"No significant difference: B − A = 0.000 [−0.020, 0.030] {SCALE}; p = 0.51, n = 200.",
        ),
        (
            result(-0.5, None, None, "1 of 1 pairs differ; 6 or more are needed", 1),
            f"B − A = −0.500 {SCALE}; n = 1, without a p-value: "
            "1 of 1 pairs differ; 6 or more are needed.",
        ),
    ],
)
def test_one_sentence_says_which_is_lower_and_by_how_much(found, expected):
    assert sentence(found, (1.0, 5.0)) == expected


def test_an_image_that_went_away_and_many_rejects_leave_a_page(tmp_path):
    there = tmp_path / "there.png"
    Image.new("RGB", (900, 30), "red").save(there)
    scored = [ScoredPair(Pair("x", there, tmp_path / "gone.png", False), 3.0, 2.0)]
    rejects = [Reject(f"{n}", f"{n}: <why>") for n in range(MOST_REJECTS + 5)]
    found = paired_difference([3.0], [2.0])
    page = render(Compared(("a", "b"), CONDITIONS, found, scored, scored, [], rejects))
    assert page.count("<img") == 1 and "can’t be read any more" in page
    assert page.count("<li>") == MOST_REJECTS and f"of {len(rejects)}" in page
    assert "<why>" not in page


def test_the_largest_page_is_below_five_megabytes(tmp_path):
    """Thumbnails of noise, which no codec makes small."""
    noise = tmp_path / "noise.png"
    pixels = np.random.default_rng(0).integers(0, 2, (200, 200, 3), np.uint8) * 255
    Image.fromarray(pixels).save(noise)
    scored = [ScoredPair(Pair(f"{n}", noise, noise, False), 3.0, 2.0) for n in range(MOST_CASES)]
    found = paired_difference([3.0] * MOST_CASES, [2.0] * MOST_CASES)
    page = render(Compared(("a", "b"), CONDITIONS, found, scored, scored, scored, []))
    assert page.count("<img") == 4 * MOST_CASES
    assert 2_000_000 < len(page.encode()) < 5_000_000


@pytest.mark.parametrize("values", [[0.0], [-2.0] * 3, [1e-9, 0.0], [-0.3, 0.1, 0.4] * 20])
def test_a_histogram_counts_every_pair_with_0_in_view(values, monkeypatch):
    drawn = []
    hist = Axes.hist

    def kept(self, *given, **named):
        found = hist(self, *given, **named)
        drawn.append((self, found[0]))
        return found

    monkeypatch.setattr(Axes, "hist", kept)
    assert score_plots.differences(values, "B − A").startswith("<svg")
    ((axes, counts),) = drawn
    low, high = axes.get_xlim()
    assert counts.sum() == len(values)
    assert low < min(0, *values) <= max(0, *values) < high and len(counts) < 110
