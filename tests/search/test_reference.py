"""λ and its error over the final proxies, at their best, at their end and by epoch."""

import math

import numpy as np
import pytest
from qsit_pools import losses as named
from qsit_pools import ratios

from qsit_ray import artifacts
from qsit_ray.mixture import Mixture
from qsit_ray.run_files import FoundMix
from qsit_ray.search.trials import (
    Look,
    TrialOutcome,
    reference_at_end,
    reference_curve,
    reference_loss_ratio,
)


def proxy(seed, *losses):
    """A trial with these (L_S, L_I) after each half an epoch; the lowest L_S is its best."""
    looks = tuple(Look((n + 1) / 2, named(*each)) for n, each in enumerate(losses))
    best = min(losses)
    return TrialOutcome(1.0, seed, losses=named(*best), looks=looks)


PROXIES = [
    proxy(0, (0.6, 1.2), (0.3, 1.0), (0.4, 0.9)),
    proxy(1, (0.8, 1.0), (0.35, 1.1)),
    proxy(2, (0.7, 1.1), (0.25, 0.9), (0.5, 0.9)),
]


def test_the_ratio_is_that_of_the_mean_losses():
    ratio, error = reference_loss_ratio(PROXIES)
    assert ratio == pytest.approx(0.9 / 3.0)
    assert error > 0
    assert reference_loss_ratio(PROXIES[:1]) == (pytest.approx(0.3), None)


def test_the_error_is_that_of_a_ratio_of_means():
    """Over many draws of three proxies it is the spread of λ; errors that both losses share
    cancel."""
    chance = np.random.default_rng(0)
    found, errors = [], []
    for _ in range(4_000):
        hard = 1 + 0.2 * chance.normal(size=3)
        apart = 0.3 * (1 + 0.05 * chance.normal(size=3))
        ratio, error = reference_loss_ratio(
            [proxy(n, (h * a, h)) for n, (h, a) in enumerate(zip(hard, apart, strict=True))]
        )
        found.append(ratio)
        errors.append(error)
    assert math.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(found), rel=0.1)
    assert np.std(found) < 0.3 * 0.2 / math.sqrt(3)


def test_the_curve_has_each_evaluation_and_the_end_each_proxys_last():
    curve = reference_curve(PROXIES)
    assert [each.epochs for each in curve] == [0.5, 1.0, 1.5]
    assert [each.loss_ratio for each in curve] == pytest.approx([2.1 / 3.3, 0.9 / 3.0, 1.25 / 2.9])
    end = reference_at_end(PROXIES)
    assert end.loss_ratio == pytest.approx((0.4 + 0.35 + 0.5) / (0.9 + 1.1 + 0.9))
    assert end.epochs == pytest.approx(4 / 3)


def test_the_file_keeps_what_the_controller_may_ask_for(tmp_path):
    ratio, error = reference_loss_ratio(PROXIES)
    found = FoundMix(
        ratios(1.0, 1.5, 0.75), ratio, "answer", Mixture.of(100, 150, 75),
        reference_loss_ratio_error=error,
        reference_at_end=reference_at_end(PROXIES),
        reference_curve=tuple(reference_curve(PROXIES)),
    )  # fmt: skip
    artifacts.write_json(tmp_path / "mixture.json", found.to_json())
    assert FoundMix.read(tmp_path / "mixture.json") == found
    (best,) = found.references("best")
    assert (best.loss_ratio, best.error) == (ratio, error)
    assert found.references("end") == (reference_at_end(PROXIES),)
    assert found.references("epoch") == tuple(reference_curve(PROXIES))


def test_a_file_from_before_pools_had_names_is_read(tmp_path):
    found = FoundMix(ratios(1.0, 1.5, 0.75), 0.5, "answer", Mixture.of(100, 150, 75))
    flat = found.to_json()
    old = {**flat.pop("ratios"), **flat}
    artifacts.write_json(tmp_path / "mixture.json", old)
    assert FoundMix.read(tmp_path / "mixture.json") == found
