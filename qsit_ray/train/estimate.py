"""torch: what the primary's run will take, before anything starts and without a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qsit_ray.config.config import Config
from qsit_ray.config.presets import FOUND
from qsit_ray.config.train import Train
from qsit_ray.errors import InputError
from qsit_ray.mixture import DOMAINS, Mixture, from_ratios
from qsit_ray.models import architectures
from qsit_ray.models.architectures import most_tiles
from qsit_ray.models.trainable import part_of
from qsit_ray.train.deepspeed_config import accumulation

# Of a GPU's memory: the CUDA context, NCCL's and DeepSpeed's buffers, fragmentation.
RESERVED_GIB = 6.0
# Assumed where there is no catalog to count: tokens of a row's text by domain (one scoring question
# and its answer; a pathway's feedback or a question; one of LLaVA-Instruct's conversations) and an
# image's size. KonIQ's images are 1024 x 768.
TEXT_TOKENS = {"scoring": 40, "interpreting": 80, "general": 320}
IMAGE_SIZE = (768, 1024)


def first_mixture(
    config: Config, sizes: dict[str, int] | None, found: dict[str, Any] | None
) -> tuple[Mixture, str]:
    """The first epoch's mixture, and where it comes from: `found`, a run's mixture.json; else
    `mix`; else the paper's answer, since the search has not been.

    `sizes`: training rows of each domain. Raises InputError when they are needed and not known.
    """
    if found is not None:
        return Mixture(**found["rows"]), "mixture.json"
    if sizes is None:
        raise InputError("data.expected_rows is needed to plan without data")
    mix, source = (config.mix, "mix") if config.mix else (FOUND, "the paper's answer, not searched")
    return from_ratios(mix.model_dump(), sizes["scoring"]), source


def tokens_of(
    shape: Any, max_length: int, rows: dict[str, list[tuple[float, tuple[int, int] | None]]]
) -> dict[str, float]:
    """Mean tokens of a row by domain, from sampled rows' text tokens and image sizes.

    A row without an image gets a blank one, which the tower and the decoder go through as well.
    """
    side = shape.vision_config.image_size
    return {
        domain: sum(
            min(text + architectures.tokens(size or (side, side), shape), max_length)
            for text, size in sample
        )
        / len(sample)
        for domain, sample in rows.items()
    }


def estimate(
    config: Config,
    shape: Any,
    mixture: Mixture,
    mixture_from: str,
    gpus: int,
    memory_gb: float,
    tokens_per_second: float | None = None,
    row_tokens: dict[str, float] | None = None,
) -> dict[str, Any]:
    """What `qsit train plan` prints; docs/TRAIN.md tells each key.

    `gpus`: how many the run has, whatever `train.workers` says. `memory_gb`: of one, in 10^9
    bytes. `tokens_per_second`: of all GPUs together. `row_tokens`: mean tokens of a row by domain;
    by default assumed. The model is built of shapes alone. Raises InputError for a global batch
    that these GPUs can't share, or a model that is not known.
    """
    steps = accumulation(config.train, gpus)
    if memory_gb <= 0:
        raise InputError(f"GPU memory: {memory_gb} GB; a number above 0 is needed")
    if tokens_per_second is not None and not tokens_per_second > 0:
        raise InputError(f"tokens per second: {tokens_per_second}; a number above 0 is needed")
    from qsit_ray.models.architectures import on_meta
    from qsit_ray.models.trainable import prepare

    model = on_meta(shape)
    parameters = sum(p.numel() for p in model.parameters())
    prepare(model, config.models.freeze_vision, config.train)
    weights = Weights.of(model)
    state, state_from = state_bytes(weights, config.train, gpus)
    activations = activation_bytes(shape, weights, config.train, config.models.max_length)
    assumed = [
        f"mixture of epoch 0: {mixture_from}; the controller may change later epochs",
        f"activations: rows of {config.models.max_length} tokens (models.max_length), images of "
        f"{architectures.most_tiles(shape)} tiles, answers of at most {LONGEST_ANSWER} tokens",
        f"{RESERVED_GIB} GiB of each GPU reserved for CUDA, NCCL and fragmentation",
    ]
    if row_tokens is None:
        image = architectures.tokens(IMAGE_SIZE, shape)
        row_tokens = {domain: image + TEXT_TOKENS[domain] for domain in DOMAINS}
        assumed.append(
            f"tokens of a row: an image of {IMAGE_SIZE[1]} x {IMAGE_SIZE[0]} pixels ({image} "
            f"tokens), and {', '.join(f'{n} of {d} text' for d, n in TEXT_TOKENS.items())}"
        )
    else:
        assumed.append("tokens of a row: from the catalog's images, and a token for 4 characters")
    batch = config.train.training.batch_size
    tokens = round(sum(mixture.counts()[d] * row_tokens[d] for d in DOMAINS))
    needed = (state + activations) / GIB + RESERVED_GIB
    return {
        "model": config.models.primary,
        "parameters": parameters,
        "trainable_parameters": weights.trained,
        "gpus": gpus,
        "gpu_memory_gb": memory_gb,
        "zero_stage": config.train.zero_stage,
        "state_gib_per_gpu": state / GIB,
        "state_from": state_from,
        "activation_gib_per_gpu": activations / GIB,
        "reserved_gib_per_gpu": RESERVED_GIB,
        "fits": needed <= memory_gb * 1e9 / GIB,
        "global_batch": batch,
        "micro_batch": config.train.micro_batch,
        "accumulation": steps,
        "epochs": config.train.epochs,
        "rows_per_epoch": mixture.total,
        "sizes": mixture.counts(),
        "steps_per_epoch": -(-mixture.total // batch),
        "tokens_per_row": {domain: float(row_tokens[domain]) for domain in DOMAINS},
        "tokens_per_epoch": tokens,
        "tokens_per_second": tokens_per_second,
        "hours": None
        if tokens_per_second is None
        else config.train.epochs * tokens / tokens_per_second / 3600,
        "assumptions": assumed,
    }


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
