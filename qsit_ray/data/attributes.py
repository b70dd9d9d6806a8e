"""pure: D2's rows from what people voted of images, by rules and without a model.

SPAQ's raters gave five attributes a number each (higher is better, also for noisiness); KonIQ++'s
said which of four distortions they saw. Only what is clear becomes a question: a fifth of the
images at either end of an attribute, and a distortion that many raters saw or nearly none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsit_ray import tables
from qsit_ray.artifacts import digest
from qsit_ray.data import labels
from qsit_ray.data.encode import IMAGE
from qsit_ray.errors import InputError
from qsit_ray.prompts import CHOICE, multiple_choice_prompt

END = 0.2
"""Share of the images at either end of an attribute that a question is made of."""
MOST = 1.5
"""Times `END` that an end may hold where several images have its value."""
SEEN, UNSEEN = 0.3, 0.02
"""Share of raters from which a distortion is there, and up to which it is not."""
AHEAD = 0.1
"""By how much more raters saw the worst distortion than any other."""


@dataclass(frozen=True)
class Attribute:
    """An attribute's questions: of its degree, from worst to best, and whether it is good."""

    how: str
    degrees: tuple[str, str, str]
    good: str


ATTRIBUTES: Mapping[str, Attribute] = {
    "brightness": Attribute(
        "How is the brightness of this image?",
        ("Poor", "Acceptable", "Good"),
        "Is this image well exposed?",
    ),
    "colorfulness": Attribute(
        "How colourful is this image?", ("Dull", "Moderate", "Rich"), "Are the colours rich?"
    ),
    "contrast": Attribute(
        "How is the contrast of this image?",
        ("Low", "Medium", "High"),
        "Does this image have good contrast?",
    ),
    "noisiness": Attribute(
        "How noisy is this image?", ("Very", "Somewhat", "Hardly"), "Is this image free of noise?"
    ),
    "sharpness": Attribute(
        "How sharp is this image?", ("Blurry", "Fairly sharp", "Sharp"), "Is this image sharp?"
    ),
}
DISTORTIONS: Mapping[str, tuple[str, str]] = {
    "artifacts": ("Compression artifacts", "Are compression artifacts visible in this image?"),
    "blur": ("Blur", "Is this image blurred?"),
    "contrast": ("Wrong contrast", "Is the contrast of this image wrong?"),
    "colors": ("Wrong colours", "Are the colours of this image wrong?"),
}
WORST = "What is the worst distortion of this image?"


@dataclass
class Converted:
    """Records in LLaVA's shape, by kind, and the images of which nothing is clear."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    unclear: int = 0
    images: int = 0


def convert(path: Path, image: str, seed: int, form: str = CHOICE) -> Converted:
    """The rows of a table: labels with attributes (`qsit data read spaq`), or SPAQ's or KonIQ++'s
    own columns beside the column `image`. `form`: of closed questions.

    As many closed questions are answered with yes as with no. Raises InputError where the table has
    neither's columns, or can't be read.
    """
    names, columns = _read(path, image)
    votes = set(DISTORTIONS) <= set(columns)
    if not votes and not set(columns) & set(ATTRIBUTES):
        raise InputError(
            f"{path}: neither SPAQ's attributes ({', '.join(ATTRIBUTES)}) nor KonIQ++'s votes "
            f"({', '.join(DISTORTIONS)}) in it"
        )
    if votes:
        _check_votes(path, columns)
    made = _of_votes if votes else _of_attributes
    asked: list[_Asked] = made(names, columns)
    found = Converted(images=len(names))
    closed = [each for each in asked if each.answer in ("Yes", "No")]
    kept = _balanced(closed, seed)
    for number, each in enumerate(asked):
        if each.answer in ("Yes", "No") and each not in kept:
            continue
        for kind, prompt in each.prompts(seed, form):
            record = {
                "id": f"{each.image}:{kind}:{number}",
                "image": each.image,
                "conversations": [
                    {"from": "human", "value": prompt},
                    {"from": "gpt", "value": each.answer},
                ],
            }
            found.rows.append(record)
            found.kinds[kind] += 1
    found.unclear = len(set(names) - {record["image"] for record in found.rows})
    return found


def _check_votes(path: Path, columns: Mapping[str, NDArray[np.float64]]) -> None:
    """Raises InputError for a vote that is no share of the raters."""
    for name in DISTORTIONS:
        wrong = np.flatnonzero((columns[name] < 0) | (columns[name] > 1))
        if wrong.size:
            raise InputError(
                f"{path}, row {wrong[0] + 1}, column {name}: {columns[name][wrong[0]]:g} is no "
                "share of the raters, from 0 to 1"
            )


@dataclass(frozen=True)
class _Asked:
    """A question of an image with its answer; `options` of an open one hold the answer."""

    image: str
    question: str
    answer: str
    options: tuple[str, ...] = ()

    def prompts(self, seed: int, form: str) -> list[tuple[str, str]]:
        if not self.options:
            return [("yes_no", f"{IMAGE}\n{self.question}")]
        chance = int(digest([seed, self.image, self.question])[:8], 16)
        order = np.random.default_rng(chance).permutation(len(self.options))
        listed = multiple_choice_prompt(self.question, [self.options[k] for k in order], form)
        return [("what_how", f"{IMAGE}\n{self.question}"), ("multiple_choice", listed)]


def _read(path: Path, image: str) -> tuple[list[str], dict[str, NDArray[np.float64]]]:
    """The images, and the columns of numbers by name in small letters."""
    known = labels.read(path) if path.suffix == ".parquet" else None
    if known is not None:
        rows = [row for row in known.rows if row.attributes]
        if not rows:
            raise InputError(f"{path}: the labels of {known.dataset} have no attributes")
        shared = set.intersection(*(set(row.attributes) for row in rows))
        return [row.image for row in rows], {
            name: np.array([row.attributes[name] for row in rows]) for name in sorted(shared)
        }
    table = tables.read(path)
    wanted = {*ATTRIBUTES, *DISTORTIONS}
    columns = {n.lower(): table.numbers(n) for n in table.names if n.lower() in wanted}
    return table.ids(image), columns


def _of_attributes(
    names: Sequence[str], columns: Mapping[str, NDArray[np.float64]]
) -> list[_Asked]:
    asked = []
    for name, attribute in ATTRIBUTES.items():
        if name not in columns:
            continue
        values = columns[name]
        at_low, at_high = _ends(values)
        middle = np.quantile(values, [0.5 - END / 2, 0.5 + END / 2])
        between = (middle[0] <= values) & (values <= middle[1]) & ~at_low & ~at_high
        places = zip(names, at_low.tolist(), at_high.tolist(), between.tolist(), strict=True)
        for image, is_low, is_high, is_between in places:
            if is_low or is_high:
                asked.append(_Asked(image, attribute.good, "Yes" if is_high else "No"))
            if is_low or is_high or is_between:
                degree = 0 if is_low else 2 if is_high else 1
                degrees = attribute.degrees
                asked.append(_Asked(image, attribute.how, degrees[degree], degrees))
    return asked


def _ends(values: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The values at either end: about `END` of them each, without one that many images share."""
    low, high = np.quantile(values, [END, 1 - END])
    at_low, at_high = values <= low, values >= high
    if at_low.mean() > MOST * END:
        at_low = values < low
    if at_high.mean() > MOST * END:
        at_high = values > high
    return at_low, at_high


def _of_votes(names: Sequence[str], columns: Mapping[str, NDArray[np.float64]]) -> list[_Asked]:
    shares = np.column_stack([columns[name] for name in DISTORTIONS])
    words = tuple(word for word, _ in DISTORTIONS.values())
    asked = []
    for image, row in zip(names, shares, strict=True):
        first, second = np.sort(row)[::-1][:2]
        if first >= SEEN and first - second >= AHEAD:
            asked.append(_Asked(image, WORST, words[int(row.argmax())], words))
        for (_, question), share in zip(DISTORTIONS.values(), row.tolist(), strict=True):
            if share >= SEEN or share <= UNSEEN:
                asked.append(_Asked(image, question, "Yes" if share >= SEEN else "No"))
    return asked


def _balanced(closed: Sequence[_Asked], seed: int) -> set[_Asked]:
    """As many questions of each kind with yes as with no, drawn by `seed`."""
    by_kind: dict[str, dict[str, list[_Asked]]] = {}
    for each in closed:
        by_kind.setdefault(each.question, {"Yes": [], "No": []})[each.answer].append(each)

    def chance(each: _Asked) -> str:
        return digest([seed, each.image, each.question])

    kept: set[_Asked] = set()
    for answers in by_kind.values():
        fewest = min(map(len, answers.values()))
        for some in answers.values():
            kept.update(sorted(some, key=chance)[:fewest])
    return kept
