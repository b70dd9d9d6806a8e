"""torch: a frozen vision tower's features, computed once per image tile and process."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

# Tiles go through the tower in groups of one size, filled with zeros: a matrix product's rounding
# may depend on its shape, and a tile's features must not depend on which tiles came with it.
GROUP = 16


def remember_features(model: Any) -> None:
    """Make the vision tower of a LlavaOnevision model compute each distinct tile only once.

    Only right while the tower's weights stay as they are. The features are kept in memory, so
    this is for image sets that fit. Raises ValueError when the tower has weights to train.
    """
    tower = model.model.vision_tower
    if any(parameter.requires_grad for parameter in tower.parameters()):
        raise ValueError("the vision tower is trained: its features can't be remembered")
    layer = model.config.vision_feature_layer
    compute = tower.forward
    known: dict[bytes, Tensor] = {}

    def forward(pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        keys = [_key(tile) for tile in pixel_values]
        new = list({key: i for i, key in enumerate(keys) if key not in known}.items())
        for start in range(0, len(new), GROUP):
            group = new[start : start + GROUP]
            tiles = pixel_values.new_zeros((GROUP, *pixel_values.shape[1:]))
            tiles[: len(group)] = pixel_values[[index for _, index in group]]
            with torch.no_grad():
                hidden = compute(tiles, output_hidden_states=True).hidden_states[layer]
            known.update((key, hidden[i].clone()) for i, (key, _) in enumerate(group))
        features = torch.stack([known[key] for key in keys])
        # The model reads one layer of the hidden states, so one is all there is.
        return BaseModelOutputWithPooling(
            last_hidden_state=features,
            hidden_states={layer: features},
        )

    tower.forward = forward


def _key(tile: Tensor) -> bytes:
    return hashlib.blake2b(tile.detach().cpu().numpy().tobytes(), digest_size=16).digest()
