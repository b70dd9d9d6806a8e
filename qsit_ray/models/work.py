"""torch: the weights that a model's tokens and image patches pass, which give a step's FLOPs."""

from __future__ import annotations

from typing import Any

from qsit_ray.models.architectures import has_vision
from qsit_ray.models.trainable import part_of
from qsit_ray.step_lines import Work


def work_of(model: Any) -> Work:
    """The work of a model, which may be on the meta device or cut up by ZeRO-3."""
    weights, trained = {"decoder": 0, "tower": 0}, set()
    for name, weight in model.named_parameters():
        part = "decoder" if part_of(name) == "language" else "tower"
        if "embed_tokens" not in name or model.config.tie_word_embeddings:
            # At ZeRO stage 3 a rank holds nothing of it.
            weights[part] += getattr(weight, "ds_numel", weight.numel())
        if weight.requires_grad:
            trained.add(part)
    patches = 0
    if has_vision(model.config):
        vision = model.config.vision_config
        patches = (vision.image_size // vision.patch_size) ** 2
    return Work(
        decoder=weights["decoder"],
        tower=weights["tower"],
        patches=patches,
        decoder_trained="decoder" in trained,
        tower_trained="tower" in trained,
    )
