"""torch: merges of models: weighted means of their weights, and how far each has moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

Weights = Mapping[str, torch.Tensor]
"""Tensors by name; those of one model."""


def merged(models: Sequence[Weights], parts: Sequence[float]) -> dict[str, torch.Tensor]:
    """The mean of the models' weights, each with its part; the parts add up to 1."""
    first, *others = zip(models, parts, strict=True)
    found = {name: first[1] * value for name, value in first[0].items()}
    for weights, part in others:
        for name, value in found.items():
            value.add_(weights[name], alpha=part)
    return found


def displacement(weights: Weights, base: Weights) -> float:
    """The norm of the change of all weights together, over the norm of the base."""
    moved = sum(
        float((weights[name].double() - base[name].double()).square().sum()) for name in base
    )
    norm = sum(float(value.double().square().sum()) for value in base.values())
    return float((moved / norm) ** 0.5)
