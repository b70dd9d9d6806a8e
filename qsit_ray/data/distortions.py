"""pure: fifteen artificial distortions at five severities, and which of them an image gets.

They are imagecorruptions' (Hendrycks and Dietterich 2019, https://arxiv.org/abs/1903.12261), as in
the paper's Table III for COCO.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsit_ray.artifacts import digest
from qsit_ray.errors import InputError

KINDS = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST = 32
"""Fewest pixels of a side that the distortions are defined for."""
PACKAGES = ("imagecorruptions", "skimage", "cv2", "numba")
"""What distortions import."""
# Installed without their dependencies: these ask for an OpenCV that needs a display library.
ALONE = {"imagecorruptions": "imagecorruptions-imaug", "imgaug": "imgaug"}


@dataclass(frozen=True)
class Distortion:
    """What is done to an image: one of `KINDS`, a severity from 1 to 5, and its noise's seed."""

    kind: str
    severity: int
    seed: int


def drawn(name: str, seed: int) -> Distortion:
    """The distortion of the image of that name: the same whatever other images there are."""
    number = int(digest([seed, name])[:16], 16)
    random = np.random.default_rng(number)
    kind, severity = random.integers(len(KINDS)), random.integers(len(SEVERITIES))
    return Distortion(KINDS[kind], SEVERITIES[severity], number % 2**31)


def check_packages(others: Iterable[str] = ()) -> None:
    """Raises InputError naming what is not installed of the packages that distortions, and
    `others`, need."""
    names = dict.fromkeys([*PACKAGES, *others])
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if not missing:
        return
    commands = []
    if set(missing) - set(ALONE):
        commands.append("pip install 'qsit_ray[demo]'")
    if set(missing) & set(ALONE):
        commands.append(f"pip install --no-deps {' '.join(ALONE.values())}")
    raise InputError(f"{', '.join(missing)}: not installed; {', and '.join(commands)}")


def distorted(image: NDArray[np.uint8], distortion: Distortion) -> NDArray[np.uint8]:
    """The image, uint8 [height, width, 3], distorted.

    Raises InputError for a side of under 32 pixels.
    """
    import imagecorruptions  # lazily: it takes seconds

    if min(image.shape[:2]) < SMALLEST:
        height, width = image.shape[:2]
        raise InputError(f"{width} × {height} pixels; a distortion needs {SMALLEST} a side")
    # The package draws from numpy's global generator, whose state is set for the call and restored
    # after it; two of its functions draw from their own generators and take a seed.
    own_seed = distortion.kind in ("impulse_noise", "glass_blur")
    extra: dict[str, Any] = {"seed": distortion.seed} if own_seed else {}
    state = np.random.get_state()
    np.random.seed(distortion.seed)
    try:
        out = imagecorruptions.corrupt(
            np.array(image),
            severity=distortion.severity,
            corruption_name=distortion.kind,
            **extra,
        )
    finally:
        np.random.set_state(state)
    return np.asarray(np.clip(out, 0, 255).astype(np.uint8))
