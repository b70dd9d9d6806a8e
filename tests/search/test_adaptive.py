import subprocess
import sys
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.config.search import Adaptive
from qsit_ray.search.adaptive import Rounds

LOW, HIGH, SEEDS = 0.1, 10.0, (0, 1, 2)
FOURTEEN = Adaptive(trials=14)


def rounds_of(settings, seeds=SEEDS, low=LOW, high=HIGH):
    return Rounds(settings, low, high, seeds, seed=0)


def planted(ratio, peak=2.42):
    return float(0.75 - 0.03 * (1 - 1 / np.cosh(np.log(ratio / peak))))


def search(settings, score, *axis):
    """Rounds of a whole search; `score` of a ratio and the trial's number."""
    done, rounds = [], []
    while points := rounds_of(settings, *axis).propose(done):
        rounds.append(points)
        for ratio, seed in points:
            done.append((ratio, seed, score(ratio, len(done))))
    return done, rounds


def noisy(seed, noise=0.003):
    noises = noise * np.random.default_rng(seed).standard_normal(200)
    return lambda ratio, number: planted(ratio) + float(noises[number])


def test_the_planted_peak_is_found_with_fourteen_noisy_trials():
    lost = []
    for seed in range(8):
        done, _ = search(FOURTEEN, noisy(seed))
        found = rounds_of(FOURTEEN).progress(done)
        assert found.over in {"tolerance", "budget"}
        lost.append(planted(2.42) - planted(found.best))
    assert np.median(lost) < 0.0005 and max(lost) < 0.002


def test_an_optimum_at_an_edge_is_found_there():
    done, _ = search(FOURTEEN, lambda ratio, number: 0.7 + 0.01 * np.log(ratio))
    assert rounds_of(FOURTEEN).progress(done).best == HIGH


def test_the_first_round_is_even_in_log_ratio_with_the_ends():
    points = rounds_of(Adaptive(trials=14, batch=5)).propose([])
    ratios = [ratio for ratio, _ in points]
    assert ratios == [0.1, 0.3162, 1.0, 3.162, 10.0]
    assert [seed for _, seed in points] == [0, 1, 2, 0, 1]


def test_rounds_are_batches_and_the_last_fills_the_budget():
    done, rounds = search(Adaptive(trials=14, tolerance=1e-9), noisy(0))
    assert [len(points) for points in rounds] == [4, 4, 4, 2]
    assert rounds_of(FOURTEEN).progress(done).over == "budget"


def test_later_rounds_gather_around_the_peak_and_repeat_with_other_seeds():
    done, rounds = search(Adaptive(trials=26, tolerance=1e-9), noisy(1))
    later = np.array([ratio for points in rounds[1:] for ratio, _ in points])
    assert np.median(np.abs(np.log(later / 2.42))) < np.log(2)
    assert len({(ratio, seed) for ratio, seed, _ in done}) == 26
    assert max(Counter(ratio for ratio, _, _ in done).values()) > 1


def test_a_clear_answer_ends_the_search_early_and_a_flat_one_too():
    done, _ = search(FOURTEEN, lambda ratio, number: 0.7 + 0.02 * np.log(ratio))
    clear = rounds_of(FOURTEEN).progress(done)
    assert clear.over == "tolerance" and clear.trials < 14
    assert 0 <= clear.regret_left <= FOURTEEN.tolerance
    done, _ = search(FOURTEEN, lambda ratio, number: 0.7)
    assert rounds_of(FOURTEEN).progress(done).over == "tolerance"


def test_more_noise_leaves_more_regret_open():
    left = []
    for noise in (0.001, 0.01):
        rng = np.random.default_rng(0)
        ratios = np.geomspace(LOW, HIGH, 14)
        done = [(r, 0, planted(r) + noise * rng.standard_normal()) for r in ratios]
        left.append(rounds_of(FOURTEEN).progress(done).regret_left)
    assert left[0] < left[1] / 2


def test_nothing_is_known_before_three_scores():
    started = rounds_of(FOURTEEN).progress([(0.1, 0, 0.7), (1.0, 1, None), (10.0, 2, 0.7)])
    assert (started.trials, started.best, started.regret_left, started.over) == (
        3,
        None,
        None,
        None,
    )


def test_one_trial_at_a_time_begins_with_the_ends_and_the_middle():
    _, rounds = search(Adaptive(trials=6, batch=1, tolerance=1e-9), noisy(2))
    assert [len(points) for points in rounds] == [1] * 6
    assert sorted(points[0][0] for points in rounds[:3]) == [0.1, 1.0, 10.0]


@settings(max_examples=15, deadline=None)
@given(
    failed=st.sets(st.integers(0, 13)),
    batch=st.integers(1, 8),
    seeds=st.sampled_from([(0,), (0, 1, 2), (7, 3)]),
    interval=st.sampled_from([(0.1, 10.0), (0.12344, 0.2), (0.5, 800.0)]),
)
def test_failed_trials_count_and_no_point_occurs_twice(failed, batch, seeds, interval):
    low, high = interval
    settings = Adaptive(trials=14, batch=batch, tolerance=1e-9)
    score = noisy(3)
    done, _ = search(settings, lambda r, n: None if n in failed else score(r, n), seeds, low, high)
    assert len(done) == 14
    assert len({(ratio, seed) for ratio, seed, _ in done}) == 14
    assert all(low <= ratio <= high and seed in seeds for ratio, seed, _ in done)
    inner = {ratio for ratio, _, _ in done} - {low, high}
    assert all(float(f"{ratio:.4g}") == ratio for ratio in inner)


def test_a_search_started_again_makes_the_same_proposals():
    done, rounds = search(Adaptive(trials=14, tolerance=1e-9), noisy(4))
    for after in (4, 8, 12):
        again = rounds_of(Adaptive(trials=14, tolerance=1e-9)).propose(done[:after])
        assert again == rounds[after // 4]
    code = (
        "from qsit_ray.config.search import Adaptive; from qsit_ray.search.adaptive import Rounds;"
        "settings = Adaptive(trials=14, tolerance=1e-9);"
        f"print(Rounds(settings, 0.1, 10.0, (0, 1, 2), 0).propose({done[:8]!r}))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(rounds[2])
    assert other.stderr == ""


def test_a_score_that_is_not_finite_counts_as_none():
    scores = [(0.1, 0, 0.70), (1.0, 1, 0.72), (10.0, 2, 0.71)]
    with_nan = [*scores, (2.0, 0, float("nan"))]
    without = [*scores, (2.0, 0, None)]
    assert rounds_of(FOURTEEN).propose(with_nan) == rounds_of(FOURTEEN).propose(without)
