"""pure: two models over repeated trainings, compared on the same photographs.

A repeat is a training with a seed, whose test images may differ from another's but come from the
same photographs. A resample draws photographs once and takes their rows in every repeat, so that
repeats of one photograph are not counted as new evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qsit_ray.errors import InputError
from qsit_ray.evaluation import correlation
from qsit_ray.evaluation.intervals import DEFAULT, Bootstrap, Difference, Floats, resampled_clusters

Metric = Callable[[Floats, Floats], float]
"""Of the truth and one model's values, both of shape (rows,)."""


@dataclass(frozen=True)
class Repeat:
    """The truth, the values of models A and B, the photographs and, where there are several, the
    data sets of a repeat's test rows, all of shape (rows,)."""

    truth: Floats
    a: Floats
    b: Floats
    photographs: NDArray[np.str_]
    datasets: NDArray[np.str_] | None = None


def share_right(truth: Floats, answers: Floats) -> float:
    """The share of answers that equal the truth."""
    return float(np.mean(truth == answers))


def difference(
    repeats: Sequence[Repeat], metric: Metric = correlation.srcc, bootstrap: Bootstrap = DEFAULT
) -> Difference:
    """The metric's mean over the repeats, of A and of B, and A - B with its interval and p-value.

    The metric of a repeat is its mean over the data sets, whose scales may differ.
    None for the interval and p-value below two photographs, and where most resamples leave the
    metric undefined. Raises InputError when the repeats do not have the same photographs.
    """
    names = [np.unique(repeat.photographs) for repeat in repeats]
    if any(not np.array_equal(each, names[0]) for each in names):
        raise InputError("repeats have test images of different photographs")
    rows = [[np.flatnonzero(repeat.photographs == name) for name in names[0]] for repeat in repeats]

    def means(drawn: Sequence[int] | NDArray[np.intp]) -> tuple[float, float]:
        of_both = []
        for repeat, of_photograph in zip(repeats, rows, strict=True):
            taken = np.concatenate([of_photograph[number] for number in drawn])
            of_both.append(
                [_mean(metric, repeat, values, taken) for values in (repeat.a, repeat.b)]
            )
        a, b = np.mean(of_both, axis=0)
        return float(a), float(b)

    a, b = means(range(len(names[0])))
    if not np.isfinite([a, b]).all():
        return Difference(None, None, reason="the metric is undefined in a repeat")
    draws = resampled_clusters(len(names[0]), bootstrap.seed)
    apart = np.array([np.subtract(*means(drawn)) for drawn in draws])
    return Difference(a, b, a - b, *bootstrap.of_difference(apart))


def _mean(metric: Metric, repeat: Repeat, values: Floats, rows: NDArray[np.intp]) -> float:
    """The metric of some rows; of several data sets its mean over those that the rows are of."""
    truth, values = repeat.truth[rows], values[rows]
    if repeat.datasets is None:
        return metric(truth, values)
    return correlation.mean_over_sets(metric, truth, values, repeat.datasets[rows])
