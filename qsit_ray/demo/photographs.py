"""pure: the demo's real photographs, their crops, and what is done to them.

The photographs ship inside wheels that the demo installs anyway, so nothing is downloaded. They are
split by scene: no crop of a validation or test scene is ever seen in training. Distortions are the
fifteen of imagecorruptions (Hendrycks and Dietterich 2019, https://arxiv.org/abs/1903.12261) at
five severities.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qsit_ray.errors import InputError

Split = Literal["train", "validation", "test"]
Place = Literal["whole", "left half", "right half", "top half", "bottom half"]
Pixels = NDArray[np.uint8]

CROP = 64
"""Side of a demo crop in pixels."""

DISTORTIONS: tuple[str, ...] = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
PRISTINE = "pristine"
HALVES: tuple[Place, ...] = ("left half", "right half", "top half", "bottom half")


@dataclass(frozen=True)
class Photograph:
    """One photograph file inside an installed package.

    `scene` joins files that show the same thing; `weight` is how often crops are taken from it.
    """

    name: str
    scene: str
    split: Split
    package: str
    path: str
    weight: float = 1.0


_SK, _MPL = "skimage", "matplotlib"
PHOTOGRAPHS: tuple[Photograph, ...] = (
    Photograph("astronaut", "astronaut", "train", _SK, "data/astronaut.png"),
    Photograph("camera", "camera", "train", _SK, "data/camera.png", 0.5),
    Photograph("china", "china", "train", "sklearn", "datasets/images/china.jpg"),
    Photograph("flower", "flower", "train", "sklearn", "datasets/images/flower.jpg"),
    Photograph("motorcycle_left", "motorcycle", "train", _SK, "data/motorcycle_left.png", 0.6),
    Photograph("motorcycle_right", "motorcycle", "train", _SK, "data/motorcycle_right.png", 0.6),
    Photograph("rocket", "rocket", "train", _SK, "data/rocket.jpg", 0.8),
    Photograph("brick", "brick", "train", _SK, "data/brick.png", 0.3),
    Photograph("gravel", "gravel", "train", _SK, "data/gravel.png", 0.3),
    Photograph("chelsea", "chelsea", "validation", _SK, "data/chelsea.png"),
    Photograph("coins", "coins", "validation", _SK, "data/coins.png", 0.3),
    Photograph("coffee", "coffee", "test", _SK, "data/coffee.png"),
    Photograph(
        "grace_hopper", "grace_hopper", "test", _MPL, "mpl-data/sample_data/grace_hopper.jpg"
    ),
    Photograph("quokka", "quokka", "test", "imgaug", "quokka.jpg"),
)


@dataclass(frozen=True)
class Sample:
    """One distorted crop, as a recipe: everything needed to draw the same pixels again.

    `box` is (left, top, side) in pixels of the photograph; `seed` feeds the distortion's own noise.
    """

    photograph: str
    box: tuple[int, int, int]
    distortion: str
    severity: int
    place: Place
    seed: int


def photographs(split: Split) -> tuple[Photograph, ...]:
    """Return the photographs of one split, in a fixed order."""
    return tuple(p for p in PHOTOGRAPHS if p.split == split)


@functools.cache
def pixels_of(name: str) -> Pixels:
    """Return a photograph as RGB, uint8 [height, width, 3].

    Raises InputError when its package is not installed or no longer ships the file.
    """
    photograph = next((p for p in PHOTOGRAPHS if p.name == name), None)
    if photograph is None:
        raise InputError(f"no demo photograph is called {name!r}")
    # The package is only located, never imported: imgaug fails to import on current numpy.
    spec = importlib.util.find_spec(photograph.package)
    if spec is None or spec.origin is None:
        raise InputError(f"package {photograph.package} (for photograph {name}) is not installed")
    file = Path(spec.origin).parent / photograph.path
    if not file.is_file():
        raise InputError(f"{file}: the photograph {name} is missing from {photograph.package}")
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def draw_samples(
    split: Split, count: int, rng: np.random.Generator, half: float, pristine: float
) -> list[Sample]:
    """Draw `count` recipes from the photographs of a split.

    `half` is the share of distorted crops of which only one half is distorted, `pristine` the share
    left as they are. Distortion and severity go round evenly, so that no kind is rare by chance.
    """
    pool = photographs(split)
    weights = np.array([p.weight for p in pool])
    grid = [(d, s) for s in range(1, 6) for d in DISTORTIONS]
    cells: list[tuple[str, int]] = []
    samples = []
    for _ in range(count):
        name = pool[int(rng.choice(len(pool), p=weights / weights.sum()))].name
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
    """Draw a square that is not mostly flat: nothing can be said of the blur of an empty sky."""
    height, width = photo.shape[:2]
    best, best_texture = (0, 0, min(height, width)), -1.0
    for _ in range(6):
        # Every crop is scaled down at least a little, so that a pristine crop is sharp.
        side = int(rng.integers(80, max(81, int(0.6 * min(height, width)))))
        left = int(rng.integers(0, width - side + 1))
        top = int(rng.integers(0, height - side + 1))
        step = max(1, side // 32)
        patch = photo[top : top + side : step, left : left + side : step].mean(axis=2)
        texture = float(
            np.abs(np.diff(patch, axis=0)).mean() + np.abs(np.diff(patch, axis=1)).mean()
        )
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
    """Draw a sample: (distorted crop, uint8 [64, 64, 3]; its structural similarity to the pristine
    crop, 0 to 1).

    The similarity is mean SSIM on luma (Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861).
    """
    pristine = crop_of(sample)
    if sample.distortion == PRISTINE:
        return pristine, 1.0
    mask = place_mask(sample.place)[..., None]
    distorted = np.where(mask, _distort(pristine, sample), pristine).astype(np.uint8)
    return distorted, similarity(pristine, distorted)


def place_mask(place: Place) -> NDArray[np.bool_]:
    """Return which pixels a place covers, bool [64, 64]."""
    mask = np.zeros((CROP, CROP), bool)
    half = CROP // 2
    where: dict[str, Any] = {
        "whole": np.s_[:, :],
        "left half": np.s_[:, :half],
        "right half": np.s_[:, half:],
        "top half": np.s_[:half, :],
        "bottom half": np.s_[half:, :],
    }
    mask[where[place]] = True
    return mask


def _distort(image: Pixels, sample: Sample) -> Pixels:
    import imagecorruptions

    # The package draws from numpy's global generator, so its state is set for the call and put back
    # after it; two of its functions draw from generators of their own and take a seed.
    own_seed = {"impulse_noise", "glass_blur"}
    extra = {"seed": sample.seed} if sample.distortion in own_seed else {}
    state = np.random.get_state()
    np.random.seed(sample.seed)
    try:
        out = imagecorruptions.corrupt(
            np.array(image),
            severity=sample.severity,
            corruption_name=sample.distortion,
            **extra,
        )
    finally:
        np.random.set_state(state)
    return np.clip(out, 0, 255).astype(np.uint8)


def luma(image: Pixels) -> NDArray[np.float64]:
    """Return Rec. 601 luma of uint8 [..., 3], 0 to 255."""
    return np.asarray(image, np.float64) @ np.array([0.299, 0.587, 0.114])


def similarity(reference: Pixels, image: Pixels) -> float:
    """Return mean SSIM on luma, clipped to 0..1."""
    from skimage.metrics import structural_similarity

    value = structural_similarity(luma(reference), luma(image), data_range=255.0)
    return float(np.clip(value, 0.0, 1.0))


def render_all(samples: Sequence[Sample]) -> list[tuple[Pixels, float]]:
    """Draw many samples; a plain function, so that a process pool can call it by name."""
    return [render(sample) for sample in samples]


@dataclass(frozen=True)
class Thing:
    """Something to be seen in a photograph; `box` is left, top, right, bottom as shares of its
    size."""

    name: str
    colour: str
    box: tuple[float, float, float, float]


THINGS: dict[str, tuple[Thing, ...]] = {
    "astronaut": (
        Thing("a face", "pink", (0.33, 0.03, 0.60, 0.36)),
        Thing("a flag", "red", (0.0, 0.0, 0.20, 0.75)),
        Thing("a model shuttle", "white", (0.70, 0.0, 0.92, 0.55)),
        Thing("a helmet", "white", (0.55, 0.68, 1.0, 1.0)),
        Thing("a space suit", "orange", (0.05, 0.40, 0.72, 1.0)),
    ),
    "camera": (
        Thing("a man", "black", (0.0, 0.12, 0.55, 1.0)),
        Thing("a camera", "grey", (0.45, 0.25, 0.66, 0.48)),
        Thing("a tripod", "grey", (0.44, 0.45, 0.82, 1.0)),
        Thing("a city", "grey", (0.66, 0.20, 1.0, 0.48)),
        Thing("grass", "grey", (0.60, 0.46, 1.0, 1.0)),
    ),
    "china": (
        Thing("a pagoda", "red", (0.10, 0.05, 0.57, 0.92)),
        Thing("trees", "green", (0.0, 0.72, 1.0, 1.0)),
        Thing("a tree", "green", (0.84, 0.30, 1.0, 0.85)),
        Thing("a lake", "grey", (0.50, 0.46, 0.90, 0.75)),
        Thing("the sky", "white", (0.0, 0.0, 1.0, 0.45)),
    ),
    "flower": (
        Thing("a flower", "orange", (0.26, 0.20, 0.69, 0.85)),
        Thing("a bud", "orange", (0.44, 0.86, 0.71, 1.0)),
        Thing("leaves", "green", (0.0, 0.0, 1.0, 1.0)),
    ),
    "motorcycle_left": (
        Thing("a wheel", "black", (0.17, 0.48, 0.37, 0.80)),
        Thing("a wheel", "black", (0.74, 0.55, 0.93, 0.92)),
        Thing("an engine", "grey", (0.40, 0.52, 0.64, 0.82)),
        Thing("a fuel tank", "red", (0.47, 0.30, 0.69, 0.53)),
        Thing("boxes", "brown", (0.45, 0.0, 1.0, 0.40)),
        Thing("a bench", "brown", (0.0, 0.22, 0.32, 0.60)),
        Thing("the floor", "grey", (0.0, 0.75, 1.0, 1.0)),
    ),
    "rocket": (
        Thing("a rocket", "white", (0.46, 0.27, 0.54, 0.97)),
        Thing("lamps", "yellow", (0.10, 0.82, 0.90, 1.0)),
        Thing("a tower", "black", (0.0, 0.0, 0.16, 1.0)),
        Thing("a tower", "black", (0.86, 0.0, 1.0, 1.0)),
        Thing("the sky", "blue", (0.0, 0.0, 1.0, 0.80)),
    ),
    "brick": (Thing("a wall", "grey", (0.0, 0.0, 1.0, 1.0)),),
    "gravel": (Thing("gravel", "grey", (0.0, 0.0, 1.0, 1.0)),),
    "chelsea": (
        Thing("an eye", "green", (0.28, 0.26, 0.48, 0.54)),
        Thing("an eye", "green", (0.64, 0.34, 0.80, 0.58)),
        Thing("a cat", "brown", (0.0, 0.0, 0.92, 1.0)),
    ),
    "coins": (Thing("coins", "grey", (0.0, 0.0, 1.0, 1.0)),),
    "coffee": (
        Thing("coffee", "orange", (0.33, 0.20, 0.62, 0.46)),
        Thing("a spoon", "grey", (0.52, 0.40, 0.72, 0.82)),
        Thing("a cup", "red", (0.27, 0.02, 0.72, 0.66)),
        Thing("a saucer", "red", (0.13, 0.20, 0.80, 0.94)),
        Thing("a table", "brown", (0.0, 0.0, 1.0, 1.0)),
    ),
    "grace_hopper": (
        Thing("a hat", "black", (0.25, 0.0, 0.66, 0.23)),
        Thing("a face", "pink", (0.30, 0.22, 0.66, 0.52)),
        Thing("a flag", "red", (0.0, 0.0, 0.40, 0.60)),
        Thing("a uniform", "black", (0.0, 0.52, 1.0, 1.0)),
        Thing("the wall", "blue", (0.45, 0.0, 1.0, 0.65)),
    ),
    "quokka": (
        Thing("a face", "grey", (0.16, 0.05, 0.50, 0.58)),
        Thing("a quokka", "grey", (0.14, 0.05, 0.57, 1.0)),
        Thing("a wall", "green", (0.0, 0.0, 1.0, 0.48)),
        Thing("the floor", "grey", (0.0, 0.50, 1.0, 1.0)),
    ),
}
# The two are one scene a few centimetres apart.
THINGS["motorcycle_right"] = THINGS["motorcycle_left"]
