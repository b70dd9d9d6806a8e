"""Drawings: axes of equal values, and points that tell what they are."""

import re
from html import unescape

import numpy as np
import pytest
from planted_run import CONFIG, epoch, step
from qsit_pools import losses

from qsit_ray.losses import unkeyed
from qsit_ray.mixture import Mixture
from qsit_ray.report import drawing, search_plots, training_plots
from qsit_ray.run_files import EpochLine
from qsit_ray.search.trials import TrialOutcome
from qsit_ray.step_lines import StepLine
from qsit_ray.surrogate.comparison import compare_curves
from qsit_ray.surrogate.observations import observed


def texts(svg):
    return [unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


def tips(svg):
    return [unescape(text) for text in re.findall(r"<title>([^<]*)</title>", svg)]


def trials(score):
    ratios = CONFIG.space("interpreting_general").ratios
    return [
        TrialOutcome(ratio, seed, Mixture.of(0, 20, 10), score=score(ratio, seed),
                     losses=losses(0.5, 0.5), accuracy=0.25, steps=7, device_seconds=1.5)
        for ratio in ratios for seed in (0, 1, 2)
    ]  # fmt: skip


@pytest.mark.parametrize("value", [0.5, 0.0, -1.25, 12345.678])
@pytest.mark.parametrize("jitter", [0.0, 1e-12])
def test_equal_scores_have_an_axis_in_plain_numbers(value, jitter):
    rows = trials(lambda ratio, seed: value + jitter * seed)
    svg = search_plots.curve(rows, None, "D2 : D3", "score", None)
    shown = [text.replace("−", "-").replace(",", "") for text in texts(svg)]
    assert not [text for text in shown if re.search(r"e[+-]?\d|^\+", text)]
    numbers = {float(text) for text in shown if re.fullmatch(r"-?[\d.]+", text)}
    ratios = {0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100}
    scores = {
        number for number in numbers - ratios if abs(number - value) <= 0.15 * abs(value) + 0.15
    }
    assert len(scores) >= 3 and min(scores) < value + 1e-9 < max(scores) + 1e-9


def test_a_flat_fit_is_drawn():
    rows = trials(lambda ratio, seed: 0.5)
    seen = observed([row.ratio for row in rows], [row.score for row in rows])
    svg = search_plots.curve(rows, compare_curves(seen, coordinate="log"), "D2 : D3", "s", None)
    assert not [text for text in texts(svg) if "e-" in text or "e+" in text]


def test_equal_losses_have_an_axis():
    svg = search_plots.losses(trials(lambda ratio, seed: 0.5), {}, "D2 : D3")
    assert {"L_S", "L_I"} <= set(texts(svg))
    assert not [text for text in texts(svg) if "e-" in text]


def test_each_trial_tells_what_it_is():
    rows = trials(lambda ratio, seed: ratio + seed)
    found = tips(search_plots.curve(rows, None, "D2 : D3", "score", None))
    own = [text for text in found if "seed" in text]
    assert len(own) == len(rows)
    assert own[1] == (
        "D2 : D3 = 0.1, seed 1 · score 1.10 · accuracy 0.250 · L_S 0.500, L_I 0.500 · "
        "rows 0 : 20 : 10 · 7 steps, 1.50 device seconds"
    )
    assert any(text.startswith("D2 : D3 = 0.1 · mean of 3: 1.10 · standard") for text in found)


def test_what_a_point_tells_is_escaped():
    def draw(figure):
        drawing.point(figure.subplots(), 1, 1, '<b>"a" & b</b> · é', marker="o")

    svg = drawing.svg(draw, 2, 'of <x> & "y"')
    assert tips(svg) == ['<b>"a" & b</b> · é']
    assert "<b>" not in svg and 'aria-label="of &lt;x&gt; &amp; &#34;y&#34;"' in svg


def test_epochs_and_steps_of_one_are_drawn():
    values = {**epoch(0, (600, 2, 3), 0.2, "hold"), "sizes": Mixture.of(600, 2, 3)}
    line = EpochLine(**unkeyed(values))
    assert "epoch 0 · L_S / L_I 0.200 · λ 0.215" in tips(training_plots.loss_ratio([line]))
    assert "epoch 0 · D1 scoring · 600 rows" in tips(training_plots.sizes([line]))
    svg = training_plots.steps([StepLine(**unkeyed(step(0, 0, 3.0)))])
    assert {"D1", "D2", "Optimiser step"} <= set(texts(svg)) and "D3" not in texts(svg)


def test_a_long_training_is_thinned_to_means():
    at, values = np.arange(1, 1001), np.repeat([1.0, np.nan], 500)
    x, y = training_plots.thinned(at, values, most=100)
    assert x.size == 50 and set(y) == {1.0} and x[0] == 5.5
