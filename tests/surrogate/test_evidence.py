"""Losses and earlier trials as evidence: a response that follows them is found with fewer trials;
one that does not is fitted as without them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.surrogate.alternatives import INFORMED, PROCESS
from qsit_ray.surrogate.comparison import RECOMMENDED, compare_curves
from qsit_ray.surrogate.evidence import Evidence, leave_one_out_errors, trends
from qsit_ray.surrogate.gaussian_process import mean_curve, posterior
from qsit_ray.surrogate.observations import observed

RATIOS = np.repeat(np.geomspace(0.1, 10, 7), 2)


def response(ratios, peak):
    return -0.02 * np.abs(np.log(np.asarray(ratios) / peak)) ** 1.5


def search(peak, noise, seed, factor, same_trials=True):
    """Noisy scores, and losses of little noise that are a multiple of the response."""
    chance = np.random.default_rng(seed)
    scores = 0.6 + response(RATIOS, peak) + noise * chance.normal(size=RATIOS.size)
    losses = 3 + factor * response(RATIOS, peak) + 1e-3 * factor * chance.normal(size=RATIOS.size)
    return observed(RATIOS, scores), [Evidence("loss", observed(RATIOS, losses), same_trials)]


@settings(deadline=None, max_examples=15)
@given(st.floats(0.3, 3.0), st.sampled_from([-40.0, -1.0, 5.0]), st.integers(0, 10**6))
def test_a_trend_of_any_sign_and_scale_tells_where_the_response_peaks(peak, factor, seed):
    seen, evidence = search(peak, 0.015, seed, factor)
    grid = np.geomspace(0.1, 10, 201)
    regret = {
        name: response(peak, peak)
        - response(
            grid[np.argmax(mean_curve(seen.ratios, seen.scores, 0.1, 10, known)(grid))], peak
        )
        for name, known in (("with", trends(evidence)), ("without", []))
    }
    assert regret["with"] <= max(0.003, regret["without"])


def test_the_curve_with_evidence_answers_where_it_predicts_omitted_ratios_better():
    seen, evidence = search(1.0, 0.012, 3, -10.0)
    found = compare_curves(seen, use="recommended", evidence=evidence)
    assert found.used == found.recommended == INFORMED
    assert found.evidence == ("loss",)
    assert found.alternatives[INFORMED] < found.alternatives[PROCESS]
    assert found.curves[INFORMED].interval[0] > found.curves[PROCESS].interval[0]
    assert found.curves[INFORMED].interval[1] < found.curves[PROCESS].interval[1]
    assert type(found).from_json(found.to_json()) == found


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6))
def test_evidence_that_says_nothing_does_not_narrow_the_interval(seed):
    chance = np.random.default_rng(seed)
    seen, _ = search(1.0, 0.006, seed, 1.0)
    unrelated = [Evidence("noise", observed(RATIOS, chance.normal(size=RATIOS.size)))]
    plain = compare_curves(seen, use="recommended")
    told = compare_curves(seen, use="recommended", evidence=unrelated)
    assert told.curves[RECOMMENDED] == plain.curves[RECOMMENDED]
    low, high = told.curves[INFORMED].interval
    assert low < 1.5
    assert high > 0.67


def test_evidence_of_two_ratios_is_left_out():
    seen, _ = search(1.0, 0.006, 0, 1.0)
    few = [Evidence("loss", observed([0.1, 10.0], [1.0, 2.0]))]
    assert INFORMED not in compare_curves(seen, use="recommended", evidence=few).curves


def test_a_constant_trend_changes_nothing_but_the_weights():
    seen, _ = search(1.0, 0.006, 1, 1.0)
    flat = Evidence("loss", observed(RATIOS, np.full(RATIOS.size, 0.3)))
    plain = posterior(seen.ratios, seen.scores, 0.1, 10)
    told = posterior(seen.ratios, seen.scores, 0.1, 10, trends=trends([flat]))
    assert np.all(np.isfinite(told.mean))
    assert np.abs(told.mean - plain.mean).max() < 0.2 * np.ptp(plain.mean)


def test_an_omitted_ratio_is_predicted_without_its_own_losses():
    """A loss that knows the noise of its own trial predicts nothing of another's."""
    chance = np.random.default_rng(5)
    ratios = np.geomspace(0.1, 10, 9)
    scores = chance.normal(size=9)
    seen = observed(ratios, scores)
    own = Evidence("loss", observed(ratios, -scores), same_trials=True)
    other = Evidence("loss", observed(ratios, -scores), same_trials=False)
    told, cheated = (np.abs(leave_one_out_errors(seen, [each])).mean() for each in (own, other))
    assert cheated < 0.5 * told


@pytest.mark.parametrize("count", [3, 19])
def test_evidence_may_have_ratios_of_its_own(count):
    seen, _ = search(2.0, 0.012, 0, 1.0)
    ratios = np.geomspace(0.5, 40, count)
    elsewhere = Evidence("earlier", observed(ratios, response(ratios, 2.0)))
    curve = elsewhere.curve(np.array([0.1, 0.5, 40.0, 100.0]))
    assert curve[0] == curve[1]
    assert curve[2] == curve[3]
    assert compare_curves(seen, use="recommended", evidence=[elsewhere]).fit.optimum > 0
