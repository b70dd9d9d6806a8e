"""pure: a run's models against each other on the same test images and questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qsit_ray.evaluation import iqa, llvisionqa
from qsit_ray.evaluation.intervals import Bootstrap, Difference
from qsit_ray.report.predictions import Predictions

SHOWN = ("srcc", "plcc")


@dataclass(frozen=True)
class PairedTest:
    """A figure of two models on the same items of a benchmark.

    `test`: what the p-value is of. `a` and `b` are their names.
    """

    a: str
    b: str
    benchmark: str
    metric: str
    items: int
    difference: Difference
    p_value: float | None
    test: str


def paired_tests(
    models: Mapping[str, Predictions], pairs: Sequence[tuple[str, str]], bootstrap: Bootstrap
) -> list[PairedTest]:
    """SRCC and PLCC of each data set and the accuracy on questions, of each pair of models that has
    been evaluated on the same items.

    Intervals draw photographs; p-values are Williams' of correlations and McNemar's of answers.
    """
    found = []
    for a, b in pairs:
        if a in models and b in models:
            found += _scores(a, b, models, bootstrap)
            found += _answers(a, b, models, bootstrap)
    return found


def _scores(
    a: str, b: str, models: Mapping[str, Predictions], bootstrap: Bootstrap
) -> list[PairedTest]:
    found = []
    others = {(image.dataset, image.name): image for image in models[b].images}
    both = [
        (image, others[image.dataset, image.name])
        for image in models[a].images
        if (image.dataset, image.name) in others
    ]
    both = [(x, y) for x, y in both if x.truth == y.truth]
    for dataset in dict.fromkeys(image.dataset for image, _ in both):
        rows = [(x, y) for x, y in both if x.dataset == dataset]
        differences = iqa.compare_predictions(
            [x.truth for x, _ in rows],
            [x.score for x, _ in rows],
            [y.score for _, y in rows],
            rank_a=[x.rank_key for x, _ in rows],
            rank_b=[y.rank_key for _, y in rows],
            cluster=[x.photograph for x, _ in rows],
            metrics=SHOWN,
            bootstrap=bootstrap,
        )
        for metric in SHOWN:
            each = differences[metric]
            p_value = each.p_williams if isinstance(each, iqa.CorrelationDifference) else None
            name = metric.upper()
            found.append(PairedTest(a, b, dataset, name, len(rows), each, p_value, "Williams"))
    return found


def _answers(
    a: str, b: str, models: Mapping[str, Predictions], bootstrap: Bootstrap
) -> list[PairedTest]:
    others = {each.number: each for each in models[b].questions}
    rows = [
        (each, others[each.number])
        for each in models[a].questions
        if each.number in others and others[each.number].text == each.text
    ]
    if not rows:
        return []
    right = np.array([[x.right, y.right] for x, y in rows])
    found = llvisionqa.compare_replies(right[:, 0], right[:, 1], bootstrap)
    return [PairedTest(a, b, "questions", "accuracy", len(rows), found, found.p_value, "McNemar")]
