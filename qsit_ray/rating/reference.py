"""torch: reference scores that a model's folder carries, so that another machine can tell whether
it gives the same."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from qsit_ray import artifacts
from qsit_ray.errors import InputError
from qsit_ray.models import headers
from qsit_ray.rating.rater import Rater

FILE = "reference_scores.json"
SIZES = ((384, 384), (300, 720), (1100, 800))
"""Heights and widths of the reference images: one tile, and several in both directions."""
TOLERANCES = {"float32": 1e-3, "bfloat16": 0.05}
"""By which scores may differ here from those in float32, as a share of the profile's range."""
WEIGHT_BYTES = 5
"""Bytes of memory a weight in float32, with room for what the images need."""


@dataclass(frozen=True)
class Check:
    """Scores as the folder has them and as they are here, and the share of the profile's range that
    they may differ by."""

    expected: list[float]
    found: list[float]
    tolerance: float
    span: float

    @property
    def worst(self) -> float:
        """The greatest difference, as a share of the range."""
        return max(abs(a - b) for a, b in zip(self.expected, self.found, strict=True)) / self.span

    @property
    def is_passed(self) -> bool:
        return self.worst <= self.tolerance


def images() -> list[Image.Image]:
    """The reference images, the same on every machine: they are made of integers."""
    made = []
    for number, (height, width) in enumerate(SIZES):
        y, x = np.mgrid[:height, :width]
        waves = (x * (3 + number) + y * 5) // 7 + (x * y) // 97
        planes = [waves % 256, (waves // 2 + x) % 256, (waves * 3 + y // 2) % 256]
        made.append(Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8)))
    return made


def needed_gib(folder: Path) -> float:
    """The memory that `write` needs for a model, in GiB."""
    weights = sum(math.prod(header.shape) for header in headers.read(folder).values())
    return WEIGHT_BYTES * weights / 2**30


def write(folder: Path) -> None:
    """Write the scores of the reference images, in float32 on a CPU, and what they depend on, into
    a model's folder."""
    rater = Rater.load(folder, device="cpu", precision="fp32")
    scores = [rater.score(image).score for image in images()]
    conditions = {name: value for name, value in rater.conditions.items() if name != "model"}
    artifacts.write_json(folder / FILE, {"scores": scores, "conditions": conditions})


def check(rater: Rater) -> Check:
    """Score the reference images again. Raises InputError where the model's folder has no reference
    scores, or another profile's."""
    file = Path(rater.checkpoint.folder) / FILE
    if not file.is_file():
        raise InputError(f"{file}: missing; `qsit export` writes it with the model")
    content = artifacts.read_json(file)
    known, used = content["conditions"]["profile"], rater.profile.name
    if known != used:
        raise InputError(f"{file}: scores of the profile {known}; the profile here is {used}")
    low, high = rater.profile.score_range
    return Check(
        expected=content["scores"],
        found=[rater.score(image).score for image in images()],
        tolerance=TOLERANCES[rater.conditions["precision"]],
        span=high - low,
    )
