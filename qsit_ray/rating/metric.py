"""torch: a Rater that is called as pyiqa's metrics are: a batch of images in, their scores out."""

from __future__ import annotations

import torch

from qsit_ray.errors import InputError
from qsit_ray.rating.pictures import Source, name_of, shown
from qsit_ray.rating.rater import Rater
from qsit_ray.rating.results import Reject

EPSILON = 1e-6
"""By which floats may lie beyond 0 to 1, as in pyiqa: what arithmetic leaves."""


class Metric:
    """Scores of images by the interface of pyiqa's metrics without a reference.

    There is no gradient: an image is rounded to 8 bits and resized, as in training.
    """

    lower_better = False
    metric_mode = "NR"

    def __init__(self, rater: Rater):
        self.rater = rater

    @property
    def score_range(self) -> str:
        """As pyiqa writes it: `1, 5`."""
        return ", ".join(f"{end:g}" for end in self.rater.profile.score_range)

    def __call__(self, images: torch.Tensor | Source) -> torch.Tensor:
        """The scores, shape (N,), float32, on the tensor's device.

        `images`: N × 3 × H × W or N × 1 × H × W, of uint8 or of floats from 0 to 1 in RGB; or one
        image: such a tensor without N, a path, an image file's bytes, or a picture of PIL, whose
        score is on the model's device. Raises InputError, with the number from 1 of the image,
        before any is scored; and for a tensor that needs a gradient while gradients are recorded.
        """
        model = self.rater.checkpoint.model
        device = images.device if isinstance(images, torch.Tensor) else model.device
        batch = _batch(images) if isinstance(images, torch.Tensor) else [images]
        pictures = [shown(each, name_of(each, number)) for number, each in enumerate(batch, 1)]
        found = []
        for score in self.rater.scores(pictures):
            if isinstance(score, Reject):
                raise InputError(score.reason)
            found.append(score.score)
        return torch.tensor(found, dtype=torch.float32, device=device)


def _batch(images: torch.Tensor) -> list[torch.Tensor]:
    """The images of a batch, each of 1 or 3 planes."""
    if images.requires_grad and torch.is_grad_enabled():
        raise InputError(
            "the score has no gradient with respect to the image; "
            "give images.detach(), or call it within torch.no_grad()"
        )
    shape, dtype = tuple(images.shape), images.dtype
    images = images[None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise InputError(f"images of shape {shape}; expected N × 3 × H × W, or 3 × H × W")
    if not (dtype == torch.uint8 or dtype.is_floating_point):
        raise InputError(f"images of {dtype}; expected uint8 or floats from 0 to 1")
    images = images.detach()
    if dtype.is_floating_point:
        cut = images.clamp(0, 1)
        images = torch.where((images - cut).abs() <= EPSILON, cut, images)
    return list(images)
