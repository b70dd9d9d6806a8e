"""pure: the test images and questions that a report shows: which, and how they look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from qsit_ray.data.catalog import CONCERNS, TYPES
from qsit_ray.data.pack import place
from qsit_ray.errors import InputError
from qsit_ray.report.predictions import AnsweredQuestion, ScoredImage
from qsit_ray.report.thumbnails import thumbnail

SIDE = 160
"""Pixels of a thumbnail's longer side."""
OF_A_KIND = 3
"""Images of each kind; four kinds give twelve."""


@dataclass(frozen=True)
class ExampleImage:
    """An image with its ranks among those of its data set, 1 for the best: by score and by label.
    `picture`: a data: URI, None where the file can't be read any more."""

    image: ScoredImage
    picture: str | None
    rank: float
    rank_of_truth: float
    rows: int


@dataclass(frozen=True)
class ExampleQuestion:
    """A question with its image, and its type and concern where they are known."""

    asked: AnsweredQuestion
    picture: str | None
    kind: str

    @property
    def candidates(self) -> tuple[tuple[str, float | None], ...]:
        """The candidates with their probabilities, None where these are not known."""
        names = list(self.asked.question["candidates"]) if self.asked.question else []
        shares = self.asked.candidate_shares or ()
        known: Sequence[float | None] = shares if len(shares) == len(names) else [None] * len(names)
        return tuple(zip(names, known, strict=True))


def example_images(
    images: Sequence[ScoredImage], catalog: Path
) -> list[tuple[str, list[ExampleImage]]]:
    """Images by kind: best and worst of the scores' ranks, most uncertain, furthest off by rank;
    none twice. Ranks are within the data set, so that sets of other scales can stand together."""
    if not images:
        return []
    ranks, of_truth, rows = _ranks(images)
    place_of_score, place_of_truth = ranks / rows, of_truth / rows
    std = np.array([image.std for image in images])
    kinds = {
        "Highest scores": place_of_score,
        "Lowest scores": -place_of_score,
        "Most uncertain": -std,
        "Furthest from the label, by rank": -np.abs(place_of_score - place_of_truth),
    }
    taken: set[int] = set()
    found = []
    for title, order in kinds.items():
        free = [int(i) for i in np.argsort(order, kind="stable") if i not in taken][:OF_A_KIND]
        taken |= set(free)
        shown = [
            ExampleImage(
                images[i], picture(catalog, images[i].name),
                float(ranks[i]), float(of_truth[i]), int(rows[i]),
            )
            for i in free
        ]  # fmt: skip
        found += [(title, shown)] if shown else []
    return found


def example_questions(asked: Sequence[AnsweredQuestion], catalog: Path) -> list[ExampleQuestion]:
    """The first question of each type that was answered right, and the first answered wrong."""
    found: dict[tuple[object, bool], AnsweredQuestion] = {}
    for each in asked:
        if each.question is not None:
            found.setdefault((each.question.get("type"), each.right), each)
    order = sorted(found, key=lambda key: (not key[1], str(key[0])))
    return [_question(found[key], catalog) for key in order]


def picture(catalog: Path, name: str) -> str | None:
    """A test image as a data: URI, None where it can't be read any more."""
    try:
        file = place(catalog, name)
    except (InputError, OSError):
        return None
    return thumbnail(file, SIDE)


def _question(asked: AnsweredQuestion, catalog: Path) -> ExampleQuestion:
    record = asked.question
    assert record is not None
    names = [
        known[number]
        for key, known in (("type", TYPES), ("concern", CONCERNS))
        if isinstance(number := record.get(key), int) and number in range(len(known))
    ]
    return ExampleQuestion(asked, picture(catalog, record["img_path"]), ", ".join(names))


def _ranks(
    images: Sequence[ScoredImage],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Ranks by score and by label, from 1 for the best, and the rows, within each data set."""
    datasets = np.array([image.dataset for image in images])
    score = np.array([image.rank_key for image in images])
    truth = np.array([image.truth for image in images])
    found = np.zeros((3, len(images)))
    for dataset in np.unique(datasets):
        of = datasets == dataset
        found[0, of], found[1, of] = rankdata(-score[of]), rankdata(-truth[of])
        found[2, of] = of.sum()
    return found[0], found[1], found[2]
