"""pure: predicted distributions over the levels against people's votes.

All take shares [n, 5], from bad to excellent, each row adding up to 1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsit_ray.errors import InputError
from qsit_ray.evaluation.intervals import DEFAULT, Bootstrap, Interval
from qsit_ray.levels import LEVEL_WEIGHTS, Conversion
from qsit_ray.soft_levels import spread

BINS = 10
RESAMPLES = 1000
LEAST = 1e-12
"""Least predicted share in a logarithm: a share of 0 would make one vote's divergence infinite."""
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class DistributionResult:
    """Means over images; intervals by figure.

    `kl`: Kullback-Leibler divergence of the votes from the prediction, `js`: Jensen-Shannon
    divergence, both in nats. `wasserstein`: earth mover's distance in levels. `std_error`: mean
    absolute difference of the standard deviations, in levels. `calibration_error`: the mean over
    level shares, in ten bins of their predicted value, of the distance between the predicted and
    the voted mean (expected calibration error).
    """

    rows: int
    kl: float
    js: float
    wasserstein: float
    std_error: float
    calibration_error: float
    intervals: dict[str, Interval | None]

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def compare(
    predicted: ArrayLike, votes: ArrayLike, bootstrap: Bootstrap = DEFAULT
) -> DistributionResult:
    """Predicted shares against votes, which may be counts. The bootstrap draws images.

    Raises InputError for other shapes, shares that are negative or not finite, or a row without a
    vote.
    """
    of_model, of_people = _shares(predicted, "predicted shares"), _shares(votes, "votes")
    if of_model.shape != of_people.shape:
        raise InputError(f"{len(of_model)} predictions for {len(of_people)} images with votes")
    middle = (of_model + of_people) / 2
    figures = {
        "kl": _divergence(of_people, of_model),
        "js": (_divergence(of_people, middle) + _divergence(of_model, middle)) / 2,
        "wasserstein": np.abs(np.cumsum(of_model - of_people, axis=1)).sum(axis=1),
        "std_error": np.abs(spread(of_model) - spread(of_people)),
    }
    rng = np.random.default_rng(bootstrap.seed)
    columns = np.column_stack(list(figures.values()))
    draws = (rng.integers(len(columns), size=len(columns)) for _ in range(RESAMPLES))
    resampled = np.array([columns[rows].mean(axis=0) for rows in draws])
    intervals = {
        name: bootstrap.percentiles(values)
        for name, values in zip(figures, resampled.T, strict=True)
    }
    return DistributionResult(
        rows=len(of_model),
        **{name: float(values.mean()) for name, values in figures.items()},
        calibration_error=_calibration_error(of_model, of_people),
        intervals=intervals,
    )


@dataclass(frozen=True)
class LevelResult:
    """`accuracy`: share of images whose most probable level is theirs. `calibration_error`: the
    mean, over ten bins of that level's probability, of its distance from the accuracy (expected
    calibration error). `confidence`: mean probability of that level. `clipped`, `rejected`: images
    beyond the range of the levels, which have the end level, or none."""

    rows: int
    accuracy: float
    confidence: float
    calibration_error: float
    clipped: int
    rejected: int

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def level_calibration(predicted: ArrayLike, truth: Conversion) -> LevelResult:
    """Predicted shares against the level of each image's MOS.

    Raises InputError as `compare` does, where the lengths differ, and where no image has a level.
    """
    shares = _shares(predicted, "predicted shares")
    if truth.levels.shape != (len(shares),):
        raise InputError(f"{len(shares)} predictions for {truth.levels.size} levels")
    known = truth.levels > 0
    if not known.any():
        raise InputError("none of the images has a level in this range")
    shares, levels = shares[known], truth.levels[known]
    most = shares.max(axis=1)
    right = shares.argmax(axis=1) + 1 == levels
    return LevelResult(
        rows=len(shares),
        accuracy=float(right.mean()),
        confidence=float(most.mean()),
        calibration_error=_calibration_error(most, right.astype(float)),
        clipped=truth.clipped,
        rejected=truth.rejected,
    )


def _shares(values: ArrayLike, name: str) -> Shares:
    found = np.asarray(values, np.float64)
    if found.ndim != 2 or found.shape[1] != len(LEVEL_WEIGHTS):
        raise InputError(f"{name}: expected five columns, from bad to excellent")
    totals = found.sum(axis=1, keepdims=True)
    sound = np.isfinite(found).all(axis=1) & (found >= 0).all(axis=1) & (totals[:, 0] > 0)
    wrong = np.flatnonzero(~sound)
    if wrong.size:
        raise InputError(f"{name}: row {wrong[0] + 1} is no distribution over the levels")
    return np.asarray(found / totals)


def _divergence(truth: Shares, found: Shares) -> Shares:
    """KL(truth || found) of each row."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = truth * np.log(truth / np.maximum(found, LEAST))
    return np.asarray(np.where(truth > 0, terms, 0.0).sum(axis=1))


def _calibration_error(predicted: Shares, votes: Shares) -> float:
    bins = np.minimum((predicted * BINS).astype(int), BINS - 1).ravel()
    counts = np.bincount(bins, minlength=BINS)
    said = np.bincount(bins, predicted.ravel(), BINS)
    seen = np.bincount(bins, votes.ravel(), BINS)
    return float(np.abs(said - seen).sum() / counts.sum())
