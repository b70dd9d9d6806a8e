"""torch: the trained weights, their learning rates, and low-rank adapters in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from qsit_ray.config.train import Lora, Train
from qsit_ray.errors import InputError
from qsit_ray.models.architectures import has_vision

Part = Literal["vision", "projector", "language"]
Group = dict[str, Any]
"""A parameter group of a torch optimiser."""


def part_of(name: str) -> Part:
    """The part of a LlavaOnevisionForConditionalGeneration that a parameter belongs to; all of a
    language model is `language`.

    The embedding of an image's row ends is the projector's, the output head the language model's.
    """
    if ".vision_tower." in f".{name}":
        return "vision"
    return "projector" if "multi_modal_projector" in name or "image_newline" in name else "language"


def freeze(model: torch.nn.Module, vision: bool) -> None:
    """Make all weights trainable, but for the vision tower's where `vision` is frozen."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not (vision and part_of(name) == "vision")


def trained_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """The weights that training changes, by name; they are the model's own, not copies."""
    return {name: p.data for name, p in model.named_parameters() if p.requires_grad}


def prepare(model: Any, freeze_vision: bool, train: Train) -> None:
    """Prepare the primary as `train` asks: freeze parts, add adapters, checkpoint activations.

    Raises InputError when nothing would be trained, or an adapter finds no layer.
    """
    if train.lora is not None:
        add_adapters(model, train.lora)
    frozen = {*train.frozen, *(("vision",) if freeze_vision else ())}
    for name, parameter in model.named_parameters():
        part = part_of(name)
        adapted = train.lora is not None and part == "language"
        parameter.requires_grad = part not in frozen and (not adapted or ".lora_" in name)
    if not any(p.requires_grad for p in model.parameters()):
        raise InputError("train.frozen and models.freeze_vision leave nothing to train")
    if train.activation_checkpointing:
        # The re-entrant kind gives no gradients where a checkpoint's inputs need none, for example
        # after a frozen embedding.
        model.activation_checkpointing_enable({"use_reentrant": False})


def parameter_groups(model: torch.nn.Module, train: Train) -> list[Group]:
    """The trained weights for an optimiser: one group for each part, with its peak rate.

    `initial_lr` keeps the peak while `lr` changes (see `set_rates`).
    """
    groups, decay = [], train.training.weight_decay
    for part in get_args(Part):
        rate = getattr(train.rates, part) or train.training.learning_rate
        weights = [p for n, p in model.named_parameters() if p.requires_grad and part_of(n) == part]
        group = {"params": weights, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        if weights:
            groups.append(group)
    return groups


def set_rates(groups: list[Group], share: float) -> None:
    """Set each group's rate to `share` (0 to 1) of its own peak."""
    for group in groups:
        group["lr"] = group["initial_lr"] * share


def add_adapters(model: Any, lora: Lora) -> None:
    """Add low-rank adapters to the language model's layers named by `lora.targets`.

    The model keeps its class, so that its callers need no change. Raises InputError naming the
    targets that are no layer of it.
    """
    from peft import LoraConfig, inject_adapter_in_model

    decoder = "language_model" if has_vision(model.config) else "layers"
    inside = [name for name, _ in model.named_modules() if f".{decoder}." in f".{name}"]
    unknown = [t for t in lora.targets if not any(name.endswith(f".{t}") for name in inside)]
    if unknown:
        raise InputError(
            f"train.lora.targets: the language model has no layer {', '.join(unknown)}"
        )
    inject_adapter_in_model(
        LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            # The tower's layers have the same names.
            target_modules=rf"(.*\.)?{decoder}\..*\.({'|'.join(lora.targets)})",
        ),
        model,
    )


def merged(weights: Mapping[str, Tensor], lora: Lora) -> dict[str, Tensor]:
    """The weights of a model with adapters, merged to those of the model without.

    `weights` is its state dict, gathered from all ranks; W + alpha/rank · B·A is computed in
    float32 and stored in W's own type.
    """
    plain = {}
    for name, weight in weights.items():
        if ".lora_" in name:
            continue
        if name.endswith(".base_layer.weight"):
            layer = name.removesuffix(".base_layer.weight")
            down, up = (weights[f"{layer}.lora_{side}.default.weight"] for side in "AB")
            change = (up.float() @ down.float()) * (lora.alpha / lora.rank)
            plain[f"{layer}.weight"] = (weight.float() + change).to(weight.dtype)
        else:
            plain[name.replace(".base_layer.", ".")] = weight
    return plain
