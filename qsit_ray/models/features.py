"""torch: a frozen vision tower's features, computed once per image tile of a run and shared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from qsit_ray import artifacts

# The tower computes tiles in groups of one size, filled with zeros: a matrix product's rounding may
# depend on its shape, and a tile's features must not depend on the other tiles of its batch.
GROUP = 16


def write_features(model: Any, tiles: Iterable[Tensor], folder: Path) -> Path:
    """Compute the features of each distinct tile, uint8 [3, H, W], and store them below `folder`.

    The store is a folder named after the tower's weights and normalisation: keys.npy (uint8
    [N, 16], sorted) and features.npy (float32 [N, tokens, hidden], to be memory-mapped). An
    existing one is kept.
    """
    tower = _Tower(model)
    store = folder / tower.digest
    if store.exists():
        return store
    with artifacts.atomic(store) as temporary:
        temporary.mkdir()
        known: dict[bytes, Tensor] = {}
        waiting: dict[bytes, Tensor] = {}
        for tile in tiles:
            key = _key(tile)
            if key not in known:
                waiting[key] = tile
            if len(waiting) == GROUP:
                known.update(tower.features(waiting))
                waiting = {}
        known.update(tower.features(waiting))
        keys = sorted(known)
        np.save(temporary / "keys.npy", np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16))
        np.save(
            temporary / "features.npy", torch.stack([known[key] for key in keys]).float().numpy()
        )
    return store


def remember_features(model: Any, folder: Path | None = None) -> None:
    """Make the vision tower of a LlavaOnevision model compute no distinct tile twice.

    Features that `write_features` stored below `folder` for this tower are read from there. Others
    are computed and kept in this process's memory, so the image set must fit. Features are only
    valid while the tower's weights stay the same: raises ValueError when some are trainable.
    """
    tower = _Tower(model)
    known: dict[bytes, Tensor] = {}
    stored, places = _stored(folder, tower)

    def feature(key: bytes) -> Tensor:
        if key in places:
            return torch.from_numpy(np.array(stored[places[key]])).to(tower.dtype)
        return known[key]

    def forward(pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        keys = [_key(tile) for tile in pixel_values]
        new = {
            key: tile
            for key, tile in zip(keys, pixel_values, strict=True)
            if key not in known and key not in places
        }
        known.update(tower.features(new))
        features = torch.stack([feature(key) for key in keys]).to(pixel_values.device)
        # The model reads only this layer of the hidden states.
        return BaseModelOutputWithPooling(
            last_hidden_state=features,
            hidden_states={tower.layer: features},
        )

    model.model.vision_tower.forward = forward


class _Tower:
    """A frozen tower: its own forward, the layer that the model reads, and the digest of what its
    features depend on."""

    def __init__(self, model: Any):
        tower = model.model.vision_tower
        if any(parameter.requires_grad for parameter in tower.parameters()):
            raise ValueError("the vision tower is trained: its features can't be remembered")
        self.layer = model.config.vision_feature_layer
        self._normalisation = tower.embeddings.normalisation
        self._compute = tower.forward
        self._weights = tower.state_dict()
        self.dtype = tower.dtype

    @property
    def digest(self) -> str:
        whole = hashlib.sha256(f"{self.layer} {self._normalisation}".encode())
        for name, weights in sorted(self._weights.items()):
            whole.update(name.encode() + _bytes(weights))
        return whole.hexdigest()[:16]

    def features(self, tiles: dict[bytes, Tensor]) -> dict[bytes, Tensor]:
        """Features [tokens, hidden] of each tile, by its key."""
        done: dict[bytes, Tensor] = {}
        keys = list(tiles)
        for start in range(0, len(keys), GROUP):
            group = keys[start : start + GROUP]
            filled = tiles[group[0]].new_zeros((GROUP, *tiles[group[0]].shape))
            filled[: len(group)] = torch.stack([tiles[key] for key in group])
            with torch.no_grad():
                hidden = self._compute(filled, output_hidden_states=True).hidden_states[self.layer]
            done.update((key, hidden[i].clone()) for i, key in enumerate(group))
        return done


def _stored(folder: Path | None, tower: _Tower) -> tuple[Any, dict[bytes, int]]:
    """The stored features of this tower, memory-mapped, and each tile's place in them."""
    store = folder / tower.digest if folder is not None else None
    if store is None or not store.exists():
        return np.empty(0), {}
    keys = np.load(store / "keys.npy")
    places = {key.tobytes(): place for place, key in enumerate(keys)}
    return np.load(store / "features.npy", mmap_mode="r"), places


def _key(tile: Tensor) -> bytes:
    return hashlib.blake2b(_bytes(tile), digest_size=16).digest()


def _bytes(values: Tensor) -> bytes:
    """The numbers as float32: the same for bf16 weights however they are loaded."""
    return values.detach().cpu().float().numpy().tobytes()
