"""pure: the demo's real photographs, their crops and distortions (scenes.yaml, distortions.yaml).

The photographs ship inside wheels that the demo installs anyway, so nothing is downloaded. They are
split by scene: training sees no crop of a validation or test scene. Distortions are the fifteen of
`qsit_ray.data.distortions`.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter

from qsit_ray.data import images
from qsit_ray.data.distortions import Distortion, check_packages, distorted
from qsit_ray.errors import InputError

Split = Literal["train", "validation", "test"]
Place = Literal["whole", "left half", "right half", "top half", "bottom half"]
Pixels = NDArray[np.uint8]

CROP = 64
"""Side of a demo crop in pixels."""
SMALLEST_BOX = 80
"""Fewest pixels of a photograph that the side of a crop shows."""
LARGEST = 768
"""Longer side to which a user's photograph is scaled down: the demo's have 300 to 741 pixels."""

PRISTINE = "pristine"
# The pixels of each place in a crop.
PLACES: dict[Place, tuple[slice, slice]] = {
    "whole": np.s_[:, :],
    "left half": np.s_[:, : CROP // 2],
    "right half": np.s_[:, CROP // 2 :],
    "top half": np.s_[: CROP // 2, :],
    "bottom half": np.s_[CROP // 2 :, :],
}
HALVES = tuple(PLACES)[1:]


class Thing(NamedTuple):
    """A thing in a photograph; `box`: left, top, right, bottom as shares of the image's size."""

    name: str
    colour: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Photograph:
    """One photograph file inside an installed package.

    `scene` joins files that show the same thing; crops are drawn in proportion to `weight`. In
    `things` the smaller ones in front come first.
    """

    package: str
    path: str
    scene: str
    split: Split
    weight: float
    things: tuple[Thing, ...]


class Words(NamedTuple):
    """Words for a distortion: in questions and answers, in descriptions, and in captions."""

    family: str
    kind: str
    caption: str


def _yaml(name: str) -> object:
    return yaml.safe_load(Path(__file__).with_name(name).read_text(encoding="utf-8"))


PHOTOGRAPHS = TypeAdapter(dict[str, Photograph]).validate_python(_yaml("scenes.yaml"))
DISTORTIONS = TypeAdapter(dict[str, Words]).validate_python(_yaml("distortions.yaml"))


@dataclass(frozen=True)
class Sample:
    """The recipe of one distorted crop, which gives the same pixels each time.

    `box` is (left, top, side) in pixels of the photograph; `seed` is of the distortion's noise.
    """

    photograph: str
    box: tuple[int, int, int]
    distortion: str
    severity: int
    place: Place
    seed: int


def weights_of(split: Split) -> dict[str, float]:
    """The photographs of a split, with their shares of its crops."""
    return {name: each.weight for name, each in PHOTOGRAPHS.items() if each.split == split}


def pools() -> dict[str, list[str]]:
    """The training photographs in two pools of different scenes."""
    train = weights_of("train")
    scenes = list(dict.fromkeys(PHOTOGRAPHS[name].scene for name in train))
    return {
        pool: [name for name in train if PHOTOGRAPHS[name].scene in scenes[first::2]]
        for first, pool in enumerate(("scenes-a", "scenes-b"))
    }


def own(folder: str) -> dict[str, float]:
    """A user's photographs by path, each with weight 1. Raises InputError where there is none."""
    if not Path(folder).is_dir():
        raise InputError(f"data.test_photographs {folder}: no such folder")
    known = Image.registered_extensions()
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in known)
    if not paths:
        raise InputError(f"data.test_photographs {folder}: no image file")
    return {str(path): 1.0 for path in paths}


def label(photograph: str) -> str:
    """How rows name a photograph: the demo's by its name, a user's by its file's name."""
    return photograph if photograph in PHOTOGRAPHS else Path(photograph).name


def check_installed() -> None:
    """Raises InputError naming what is not installed of the packages that have the photographs or
    distort them."""
    check_packages(photograph.package for photograph in PHOTOGRAPHS.values())


@functools.cache
def pixels_of(name: str) -> Pixels:
    """Return a photograph as RGB, uint8 [height, width, 3]; `name` is one of `PHOTOGRAPHS`, or the
    path of another, which is scaled down to about the size of those.

    Raises InputError when its package is not installed or no longer ships the file, and for a file
    that can't be read or is too small for a crop.
    """
    if name not in PHOTOGRAPHS:
        return _own_pixels(Path(name))
    photograph = PHOTOGRAPHS[name]
    # The package is only located, never imported: imgaug fails to import on current numpy.
    spec = importlib.util.find_spec(photograph.package)
    if spec is None or spec.origin is None:
        raise InputError(f"package {photograph.package} (for photograph {name}) is not installed")
    file = Path(spec.origin).parent / photograph.path
    if not file.is_file():
        raise InputError(f"{file}: the photograph {name} is missing from {photograph.package}")
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def _own_pixels(file: Path) -> Pixels:
    upright = images.read(file)
    upright.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    if min(upright.size) <= SMALLEST_BOX:
        width, height = upright.size
        raise InputError(
            f"{file}: {width}×{height} pixels within {LARGEST}×{LARGEST}; "
            f"expected more than {SMALLEST_BOX} on each side"
        )
    return np.asarray(upright)


def draw_samples(
    weights: Mapping[str, float],
    count: int,
    rng: np.random.Generator,
    half: float,
    pristine: float,
) -> list[Sample]:
    """Draw `count` recipes from photographs, each in proportion to its weight.

    `half` is the share of distorted crops of which only one half is distorted, `pristine` the share
    of crops without distortion. Every kind and severity is drawn before one is drawn again, so that
    none is rare by chance.
    """
    pool, shares = list(weights), np.array(list(weights.values()))
    grid = [(d, s) for s in range(1, 6) for d in DISTORTIONS]
    cells: list[tuple[str, int]] = []
    samples = []
    for _ in range(count):
        name = pool[int(rng.choice(len(pool), p=shares / shares.sum()))]
        box = _draw_box(pixels_of(name), rng)
        place: Place = "whole"
        kind, severity = PRISTINE, 0
        if rng.random() >= pristine:
            if not cells:
                cells = [grid[i] for i in rng.permutation(len(grid))]
            kind, severity = cells.pop()
            if rng.random() < half:
                place = HALVES[int(rng.integers(len(HALVES)))]
        samples.append(Sample(name, box, kind, severity, place, int(rng.integers(2**31))))
    return samples


def _draw_box(photo: Pixels, rng: np.random.Generator) -> tuple[int, int, int]:
    """Draw a square that is not mostly flat: the blur of an empty sky can't be seen."""
    height, width = photo.shape[:2]
    best, best_texture = (0, 0, min(height, width)), -1.0
    for _ in range(6):
        # Every crop is scaled down a little or more, so that a pristine crop is sharp.
        largest = max(SMALLEST_BOX + 1, int(0.6 * min(height, width)))
        side = int(rng.integers(SMALLEST_BOX, largest))
        left = int(rng.integers(0, width - side + 1))
        top = int(rng.integers(0, height - side + 1))
        step = max(1, side // 32)
        patch = photo[top : top + side : step, left : left + side : step].mean(axis=2)
        down, across = (np.abs(np.diff(patch, axis=axis)).mean() for axis in (0, 1))
        texture = float(down + across)
        if texture > best_texture:
            best, best_texture = (left, top, side), texture
        if texture > 14.0:
            break
    return best


def crop_of(sample: Sample) -> Pixels:
    """Return the sample's crop before any distortion, uint8 [64, 64, 3]."""
    left, top, side = sample.box
    patch = pixels_of(sample.photograph)[top : top + side, left : left + side]
    return np.asarray(Image.fromarray(patch).resize((CROP, CROP), Image.Resampling.LANCZOS))


def render(sample: Sample) -> tuple[Pixels, float]:
    """Draw a sample: the distorted crop, uint8 [64, 64, 3], and its similarity to the pristine one.

    The similarity, 0 to 1, is mean SSIM on luma (Wang et al. 2004,
    https://doi.org/10.1109/TIP.2003.819861).
    """
    from skimage import metrics

    pristine = crop_of(sample)
    if sample.distortion == PRISTINE:
        return pristine, 1.0
    mask = place_mask(sample.place)[..., None]
    what = Distortion(sample.distortion, sample.severity, sample.seed)
    drawn = np.where(mask, distorted(pristine, what), pristine).astype(np.uint8)
    ssim: Any = metrics.structural_similarity
    similarity = ssim(luma(pristine), luma(drawn), data_range=255.0)
    return drawn, float(np.clip(similarity, 0.0, 1.0))


def place_mask(place: Place) -> NDArray[np.bool_]:
    """Return the mask of a place's pixels, bool [64, 64]."""
    mask = np.zeros((CROP, CROP), dtype=bool)
    mask[PLACES[place]] = True
    return mask


def luma(image: Pixels) -> NDArray[np.float64]:
    """Return Rec. 601 luma of uint8 [..., 3], 0 to 255."""
    return np.asarray(np.asarray(image, np.float64) @ np.array([0.299, 0.587, 0.114]))
