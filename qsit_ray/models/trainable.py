"""torch: which weights training changes."""

from __future__ import annotations

import torch


def freeze(model: torch.nn.Module, vision: bool) -> None:
    """Make all weights trainable, but for the vision tower's where `vision` is frozen."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not (vision and ".vision_tower." in f".{name}")


def trained_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights that training changes, by name; they are the model's own, not copies."""
    return {name: p.data for name, p in model.named_parameters() if p.requires_grad}
