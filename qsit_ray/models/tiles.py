"""torch: image tiles travel as uint8; the model scales and normalises them where it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Normalisation:
    """From the values 0 to `white` of a tile to (value / `white` - `mean`) / `std`, by channel."""

    white: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, images: Any) -> Normalisation:
        """What an image processor of transformers does to tiles of values 0 to 255."""
        white = 1 / images.rescale_factor if images.do_rescale else 1.0
        if not images.do_normalize:
            return cls(white, (0.0,) * 3, (1.0,) * 3)
        return cls(white, tuple(images.image_mean), tuple(images.image_std))

    def __call__(self, tiles: Tensor) -> Tensor:
        """uint8 [tiles, channels, H, W] to float32, bit for bit the processor's output."""
        values = tiles.float()

        def divide(part: Tensor, by: float) -> None:
            # Not by the number itself: CUDA would multiply by its rounded reciprocal.
            part.div_(part.new_full((), by))

        divide(values, self.white)
        for channel, mean, std in zip(values.unbind(1), self.mean, self.std, strict=True):
            divide(channel.sub_(mean), std)
        return values


def accept_tiles(model: Any, images: Any) -> None:
    """Make a LlavaOnevision model take uint8 `pixel_values`, and normalise them as its image
    processor `images` would. Other `pixel_values` pass as they are. Nothing of this is saved.

    It happens where the vision tower embeds its patches: below `features.remember_features`, which
    knows tiles by their bytes.
    """
    embeddings = model.model.vision_tower.embeddings
    if not hasattr(embeddings, "normalisation"):
        embeddings.register_forward_pre_hook(_normalise)
    embeddings.normalisation = Normalisation.of(images)


def _normalise(embeddings: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    tiles, *others = inputs
    return (embeddings.normalisation(tiles) if tiles.dtype == torch.uint8 else tiles, *others)
