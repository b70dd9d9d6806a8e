"""torch: how fast a trial of the proxy goes, from the FLOPs of its rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from transformers import PretrainedConfig

from qsit_ray.errors import InputError
from qsit_ray.mixture import DOMAINS, Mixture
from qsit_ray.models.architectures import image_tiles, image_tokens, on_meta
from qsit_ray.models.work import work_of
from qsit_ray.step_lines import PEAK_FLOPS, peak_flops
from qsit_ray.train.estimate import TEXT_TOKENS

UTILISATION = 0.4
"""Share of a GPU's peak that a training reaches: 30 to 40 % is usual for models of this size."""
# Height and width of images by domain, where they are not known: KonIQ's, and COCO's of D3.
IMAGE_SIZES = {"scoring": (768, 1024), "interpreting": (768, 1024), "general": (480, 640)}


@dataclass(frozen=True)
class Pace:
    """Seconds of one GPU a row, by domain, and what they follow from."""

    seconds: Mapping[str, float]
    source: str

    def of(self, mixture: Mixture) -> float:
        """Mean seconds a row of a mixture."""
        taken = sum(self.seconds[pool] * rows for pool, rows in mixture.items())
        return taken / mixture.total


def given(rows_per_second: float) -> Pace:
    """A measured rate. Raises InputError unless it is positive and its inverse finite."""
    if not (0 < rows_per_second < math.inf and 1 / rows_per_second < math.inf):
        raise InputError(f"rows per second: {rows_per_second}; a number above 0 is needed")
    return Pace(dict.fromkeys(DOMAINS, 1 / rows_per_second), f"{rows_per_second:g} rows/s, given")


def of_gpu(shape: PretrainedConfig, gpu: str, utilisation: float = UTILISATION) -> Pace:
    """The FLOPs of a training step of the proxy, of this configuration, over what a GPU reaches of
    its peak.

    Raises InputError for a GPU whose peak is not known and a utilisation that is no share.
    """
    peak = peak_flops(gpu)
    if peak is None:
        raise InputError(f"--gpu {gpu}: its peak is not known; {', '.join(PEAK_FLOPS)} are")
    if not 0 < utilisation <= 1:
        raise InputError(f"utilisation: {utilisation}; a share above 0 and up to 1 is needed")
    work = work_of(on_meta(shape))
    seconds = {
        domain: work.flops(
            image_tokens(size, shape) + TEXT_TOKENS[domain], image_tiles(size, shape)
        )
        / (peak * utilisation)
        for domain, size in IMAGE_SIZES.items()
    }
    return Pace(
        seconds,
        f"FLOPs of rows with images of 1024 x 768 (D3: 640 x 480) pixels, {utilisation:.0%} of a "
        f"{gpu}'s {peak / 1e12:g} TFLOP/s",
    )
