"""pure: predicted scores over labels of each data set, drawn with their calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from qsit_ray.evaluation.calibration import Bin, calibration
from qsit_ray.evaluation.intervals import Bootstrap
from qsit_ray.report import score_plots
from qsit_ray.report.predictions import Predictions, ScoredImage


@dataclass(frozen=True)
class Scatter:
    """Predicted scores over labels of one data set. `before`: the untrained model is drawn too."""

    dataset: str
    images: int
    drawn: int
    before: bool
    plot: Markup


def scatters(
    predicted: Mapping[str, Predictions], labels: str, bootstrap: Bootstrap
) -> list[Scatter]:
    """Of the primary, by data set."""
    own = predicted.get("primary")
    before = predicted.get("primary_untrained")
    found = []
    for dataset in dict.fromkeys(image.dataset for image in own.images) if own else ():
        images = _of(own, dataset)
        bins, others = _bins(images, bootstrap), _bins(_of(before, dataset), bootstrap)
        plot = Markup(score_plots.scatter(images, bins, others, dataset, labels))
        drawn = min(len(images), score_plots.MOST_DRAWN)
        found.append(Scatter(dataset, len(images), drawn, len(others) > 1, plot))
    return found


def _of(predicted: Predictions | None, dataset: str) -> list[ScoredImage]:
    return [image for image in predicted.images if image.dataset == dataset] if predicted else []


def _bins(images: Sequence[ScoredImage], bootstrap: Bootstrap) -> list[Bin]:
    if not images:
        return []
    truth, score = [image.truth for image in images], [image.score for image in images]
    photographs = [image.photograph for image in images]
    return calibration(truth, score, cluster=photographs, bootstrap=bootstrap)
