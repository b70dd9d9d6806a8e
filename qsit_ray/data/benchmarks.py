"""pure: evaluation sets in their owners' formats: LLVisionQA's questions, and tables with MOS.

They are never reduced: one row that can't be used is an InputError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from qsit_ray import reading, tables
from qsit_ray.artifacts import path_of
from qsit_ray.data.catalog import CONCERNS, TYPES, BenchmarkImage, Question, image_path
from qsit_ray.data.sizes import Sizes
from qsit_ray.errors import InputError

Row = TypeVar("Row")


@dataclass(frozen=True)
class Benchmark(Generic[Row]):
    """The rows of one file, with the place and the image's name of each."""

    rows: list[Row]
    places: Sequence[str]
    names: Sequence[str]

    def check(self, sizes: Sizes) -> None:
        """Raises InputError with the place of the first image that is missing or broken."""
        wrong = [
            (place, sizes.errors[name])
            for place, name in zip(self.places, self.names, strict=True)
            if name in sizes.errors
        ]
        if wrong:
            place, error = wrong[0]
            others = f"; {len(wrong)} of {len(self.rows)} images can't be used"
            raise InputError(f"{place}: {error}{others if len(wrong) > 1 else ''}")


def placed(folder: str, name: str) -> str:
    """An image's name below `data.images`, of its name in a file whose images are in `folder`."""
    return name if name.startswith("/") else f"{folder}{name}"


def questions(name: str | None, folder: str, graded: bool) -> Benchmark[Question]:
    """LLVisionQA questions with their answers; none without a file. `folder`: of their images,
    below `data.images`; empty, or with a slash at its end.

    `graded`: accuracy by type and concern is needed. Raises InputError naming a question that can't
    be asked or graded.
    """
    found: list[Question] = []
    for number, question in enumerate(reading.records(path_of(name)) if name else (), start=1):
        try:
            _check_question(question, graded)
        except ValueError as error:
            raise InputError(f"{name}, question {number}: {error}") from None
        image = placed(folder, question["img_path"])
        extended = {**question, "img_path": image_path(image), "photograph": image}
        found.append(cast(Question, extended))
    places = [f"{name}, question {number}" for number in range(1, len(found) + 1)]
    return Benchmark(found, places, [question["photograph"] for question in found])


def _check_question(question: Any, graded: bool) -> None:
    """Raises ValueError with the reason why a question can't be asked or graded."""
    if not isinstance(question, dict):
        raise ValueError("not an object")
    missing = {"question", "img_path", "candidates", "correct_ans"} - set(question)
    if missing:
        raise ValueError(f"{', '.join(sorted(missing))} missing")
    for key in ("question", "img_path"):
        if not isinstance(question[key], str) or not question[key].strip():
            raise ValueError(f"{key} is not a text")
    candidates = question["candidates"]
    texts = isinstance(candidates, list) and all(isinstance(c, str) and c for c in candidates)
    if not texts or not 2 <= len(candidates) <= 26:
        raise ValueError("candidates must be a list of 2 to 26 texts")
    if len(set(candidates)) < len(candidates):
        raise ValueError("two candidates are the same")
    if question["correct_ans"] not in candidates:
        raise ValueError("correct_ans is none of the candidates")
    for key, names in (("type", TYPES), ("concern", CONCERNS)) if graded else ():
        if question.get(key) not in range(len(names)):
            known = ", ".join(f"{number} {name}" for number, name in enumerate(names))
            raise ValueError(f"{key} {question.get(key)!r} is not one of {known}")


def images(dataset: str, path: str, folder: str) -> Benchmark[BenchmarkImage]:
    """Images and MOS of one test set: a table with the columns image and mos. `folder`: as of
    `questions`.

    Raises InputError naming a row without either.
    """
    table = tables.read(path_of(path))
    names = [placed(folder, name) for name in table.labels("image")]
    scores = table.numbers("mos")
    rows: list[BenchmarkImage] = [
        {"image": image_path(name), "mos": float(mos), "photograph": name, "dataset": dataset}
        for name, mos in zip(names, scores, strict=True)
    ]
    return Benchmark(rows, [f"{path}, row {number}" for number in range(1, len(rows) + 1)], names)
