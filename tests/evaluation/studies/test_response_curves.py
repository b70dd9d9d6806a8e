import numpy as np
import pytest

from qsit_ray.evaluation.studies.response_curves import HIGH, KINDS, LOW, NOISES, family

RATIOS = np.geomspace(LOW, HIGH, 4001)


@pytest.mark.parametrize("kind", KINDS)
def test_no_ratio_beats_the_argmax(kind):
    for curve in family(kind, 20):
        assert LOW <= curve.top[0] <= curve.argmax <= curve.top[1] <= HIGH
        assert curve.truth(RATIOS).max() <= curve.truth(curve.argmax) + 1e-12
        assert curve.regret(curve.argmax) == 0
        assert curve.regret(RATIOS).max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_a_shorter_family_is_the_first_part_of_a_longer_one(kind):
    assert family(kind, 3, seed=4) == family(kind, 5, seed=4)[:3]
    assert family(kind, 3, seed=4) != family(kind, 3, seed=5)


def peaks(curve):
    rising = np.sign(np.diff(curve.truth(RATIOS)))
    return int(np.count_nonzero(np.diff(rising[rising != 0]) < 0))


def test_each_kind_has_its_shape():
    assert {peaks(curve) for curve in family("peak", 20)} == {1}
    assert {peaks(curve) for curve in family("two peaks", 20)} == {2}
    assert {curve.argmax for curve in family("edge", 20)} == {LOW, HIGH}
    for curve in family("plateau", 20):
        low, high = curve.top
        assert curve.regret(np.geomspace(low, high, 9)).max() < 1e-12
        assert high / low > 2.5


def test_an_interval_covers_when_it_includes_a_best_ratio():
    curve = family("plateau", 1)[0]
    low, high = curve.top
    assert curve.covered(low * 1.1, low * 1.2)
    assert curve.covered(high, HIGH) and curve.covered(LOW, low)
    assert not curve.covered(high * 1.01, HIGH)


def test_observations_scatter_around_the_truth():
    curve, rng = family("peak", 1)[0], np.random.default_rng(0)
    for noise in NOISES:
        found = curve.observed(np.full(4000, 1.3), noise, rng)
        assert np.mean(found) == pytest.approx(float(curve.truth(1.3)), abs=5 * noise / 60)
        assert np.std(found) == pytest.approx(noise, rel=0.1)
