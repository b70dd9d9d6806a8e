"""Leave-one-out errors equal those of refitting, and are least for the curve behind the data."""

import numpy as np
import pytest

from qsit_ray.surrogate.alternatives import LAW, PROCESS, leave_one_out_errors
from qsit_ray.surrogate.curve import polynomial, predict
from qsit_ray.surrogate.observations import observed

RATIOS = np.repeat(np.geomspace(0.1, 10, 13), 2)
SHARES = RATIOS / (1 + RATIOS)


def noisy(response, noise=0.02, seed=0):
    return response + np.random.default_rng(seed).normal(0, noise, RATIOS.size)


@pytest.mark.parametrize(
    ("response", "curve"),
    [
        (1 - np.log(RATIOS / 2) ** 2, "quadratic over log"),
        (3 * SHARES, "linear over share"),
        (2 - np.exp(-6 * SHARES), LAW),
        (2 - np.exp(6 * SHARES) / 100, LAW),
    ],
)
def test_the_curve_behind_the_data_is_among_the_best(response, curve):
    errors = leave_one_out_errors(observed(RATIOS, noisy(response)), 4, "ratio")
    assert errors[curve] == pytest.approx(0.02, rel=0.4)
    assert errors[curve] <= 1.2 * min(errors.values())
    assert errors[curve] < errors["constant"] / 3


def test_the_process_fits_steps_better_than_any_polynomial():
    steps = np.tanh(4 * np.log(RATIOS / 0.5)) + np.tanh(4 * np.log(3 / RATIOS))
    errors = leave_one_out_errors(observed(RATIOS, noisy(steps)), 4, "ratio")
    polynomials = [e for name, e in errors.items() if name not in (PROCESS, LAW)]
    assert errors[PROCESS] < min(polynomials)


def test_the_error_is_that_of_refitting_without_the_ratio():
    scores = noisy(1 - np.log(RATIOS / 2) ** 2, noise=0.3)
    ratios = np.append(RATIOS, [1.0, 1.0])  # repeats that differ in number
    scores = np.append(scores, [0.2, 1.1])
    inner = [r for r in np.unique(ratios) if 0.1 < r < 10]
    squares = {}
    for ratio in inner:
        rest = ratios != ratio
        refitted = polynomial(observed(ratios[rest], scores[rest]), degree=2, coordinate="log")
        squares[ratio] = np.sum((predict(refitted, ratios[~rest]) - scores[~rest]) ** 2)
    # The ends are refitted apart: `predict` refuses ratios outside of those that are left.
    ends = np.isin(ratios, [0.1, 10])
    everything = leave_one_out_errors(observed(ratios, scores), 2, "log")["quadratic over log"]
    assert sum(squares.values()) < everything**2 * ratios.size
    logs, beyond = np.log(ratios), 0.0
    for end in (0.1, 10.0):
        rest = ratios != end
        curve = np.polynomial.Polynomial.fit(logs[rest], scores[rest], 2)
        beyond += np.sum((curve(logs[~rest]) - scores[~rest]) ** 2)
    assert np.count_nonzero(ends) == 4
    total = sum(squares.values()) + beyond
    assert everything == pytest.approx(np.sqrt(total / ratios.size), rel=1e-6)


def test_too_few_ratios_have_no_error():
    errors = leave_one_out_errors(observed([1, 2, 3], [1, 2, 2]), 4, "ratio")
    assert errors["linear over log"] is not None and errors[PROCESS] is not None
    assert errors["quadratic over log"] is errors["quartic over ratio"] is errors[LAW] is None
