"""torch: memory of one training step on one GPU, by DeepSpeed's estimators and by arithmetic.

Activations are what autograd keeps for the backward pass with attention that keeps no matrix of
scores (flash or memory-efficient), plus what is worked out anew where they are checkpointed. They
are those of the largest micro-batch there can be: each row as long as `max_length`, each image of
as many tiles as there can be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qsit_ray.models.anyres import most_tiles
from qsit_ray.models.trainable import part_of
from qsit_ray.train.settings import Train

GIB = 2**30
# Answer tokens of the longest row; each costs a row of logits over the vocabulary.
LONGEST_ANSWER = 1024


@dataclass(frozen=True)
class Weights:
    """How many weights a model has: all, trained, in its largest layer. `vision`: the tower is
    trained."""

    total: int
    trained: int
    largest_layer: int
    vision: bool

    @classmethod
    def of(cls, model: Any) -> Weights:
        """Counted on a model, which may be on the meta device; tied weights count once.

        DeepSpeed's own count goes by addresses, and all weights of the meta device have the same.
        """
        named = list(model.named_parameters())
        return cls(
            sum(p.numel() for _, p in named),
            sum(p.numel() for _, p in named if p.requires_grad),
            max(sum(p.numel() for p in m.parameters(recurse=False)) for m in model.modules()),
            any(p.requires_grad for name, p in named if part_of(name) == "vision"),
        )


def state_bytes(weights: Weights, train: Train, gpus: int) -> tuple[int, str]:
    """Bytes of weights, gradients and optimiser states on each of `gpus` GPUs, and by what they
    were worked out: DeepSpeed's estimator where there is one, else bytes a weight.

    Weights that are not trained have neither gradients nor states.
    """
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    stage, size = train.zero_stage, 4 if train.precision == "fp32" else 2
    frozen = size * (weights.total - weights.trained) // (gpus if stage == 3 else 1)
    if stage and train.precision == "bf16" and not train.bf16_states:
        if stage == 3:
            _, found, _ = estimate_zero3_model_states_mem_needs(
                weights.trained,
                weights.largest_layer,
                num_gpus_per_node=gpus,
                cpu_offload=train.offload_optimizer,
                cpu_offload_params=False,
            )
            return found + frozen, "deepspeed's estimate_zero3_model_states_mem_needs"
        _, found = estimate_zero2_model_states_mem_needs(
            weights.trained, num_gpus_per_node=gpus, cpu_offload=train.offload_optimizer
        )
        return found + frozen, "deepspeed's estimate_zero2_model_states_mem_needs"
    # A weight and its gradient, the optimiser's own copy and its two moments. In bf16 without
    # ZeRO DeepSpeed also adds gradients up in float32.
    gradient = 6 if train.precision == "bf16" and not stage else size
    optimiser = 6 if train.bf16_states else 8 if train.precision == "fp32" and not stage else 12
    if train.offload_optimizer:
        optimiser = 0
    whole = {0: size + gradient + optimiser, 1: size + gradient, 2: size, 3: 0}[stage]
    shared = {0: 0, 1: optimiser, 2: gradient + optimiser, 3: size + gradient + optimiser}[stage]
    found = whole * weights.trained + shared * weights.trained // gpus
    gathered = 2 * size * weights.largest_layer if stage == 3 else 0
    return found + gathered + frozen, f"{whole} + {shared}/{gpus} bytes a trained weight"


def activation_bytes(config: Any, weights: Weights, train: Train, max_length: int) -> int:
    """Bytes of activations on one GPU at the end of the forward pass of one micro-batch, with the
    layer that is worked out anew. `config` is a LlavaOnevisionConfig."""
    size = 4 if train.precision == "fp32" else 2
    text, vision = config.text_config, config.vision_config
    tokens = train.micro_batch * max_length
    patches = (vision.image_size // vision.patch_size) ** 2
    seen = train.micro_batch * most_tiles(config) * patches

    decoder = text_layer_bytes(text, size) * tokens
    stacks = [(text.num_hidden_layers, size * text.hidden_size * tokens, decoder)]
    if weights.vision:
        tower = tower_layer_bytes(vision, size) * seen
        stacks.append((vision.num_hidden_layers, size * vision.hidden_size * seen, tower))
    if train.activation_checkpointing:
        # Layers keep their inputs; one at a time is worked out anew, with its gradients.
        kept = sum(layers * inputs for layers, inputs, _ in stacks)
        layers = kept + 2 * max(inner for _, _, inner in stacks)
    else:
        layers = sum(count * inner for count, _, inner in stacks)
    # The projector's two layers with the activation between, and the features laid out as an image.
    projector = size * (vision.hidden_size + 4 * text.hidden_size) * seen
    pixels = size * 3 * vision.image_size**2 * seen // patches
    # Logits in the model's type, and in float32 with their softmax and gradient.
    answers = train.micro_batch * min(LONGEST_ANSWER, max_length)
    logits = (size + 12) * text.vocab_size * answers
    return layers + projector + pixels + logits


def text_layer_bytes(text: Any, size: int) -> int:
    """Bytes that one Qwen2 layer keeps for each token."""
    hidden = text.hidden_size
    # Each norm works in float32: its input, the normalised values and its output.
    norms = 2 * (4 + 2 * size) * hidden
    # Queries, and keys and values repeated for each query head; what attention gives.
    attention = size * 4 * hidden
    return norms + attention + size * 4 * text.intermediate_size


def tower_layer_bytes(vision: Any, size: int) -> int:
    """Bytes that one SigLIP layer keeps for each patch."""
    # Two norms' inputs and outputs, queries, keys, values and what attention gives; the wide layer
    # before and after its activation.
    return size * (8 * vision.hidden_size + 2 * vision.intermediate_size)
