"""torch: memory, steps, tokens and hours of the primary's training, estimated without a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from torch.nn import Module
from transformers import LlavaOnevisionConfig, Qwen2Config, SiglipVisionConfig

from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.presets import FOUND
from qsit_ray.config.train import Train
from qsit_ray.data.catalog import open_catalog, read_sizes
from qsit_ray.errors import InputError
from qsit_ray.mixture import DOMAINS, Mixture, from_ratios
from qsit_ray.models.architectures import image_tokens, most_tiles, on_meta
from qsit_ray.models.trainable import part_of, prepare
from qsit_ray.run_files import FoundMix
from qsit_ray.train.deepspeed_config import accumulation

GIB = 2**30
# Of a GPU's memory: the CUDA context, NCCL's and DeepSpeed's buffers, fragmentation.
RESERVED_GIB = 6.0
# Answer tokens of the longest row; each costs a row of logits over the vocabulary.
LONGEST_ANSWER = 1024
CHARACTERS_A_TOKEN = 4.0
# Rows of each domain that are read to estimate the length of a row.
SAMPLE = 200
# Assumed without a catalog: tokens of a row's text by domain (one scoring question and its answer;
# a pathway's feedback or a question; one of LLaVA-Instruct's conversations) and an image's size.
# KonIQ's images are 1024 x 768.
TEXT_TOKENS = {"scoring": 40, "interpreting": 80, "general": 320}
IMAGE_SIZE = (768, 1024)


@dataclass(frozen=True)
class Estimate:
    """The answer of `qsit train plan`; docs/TRAIN.md explains each field.

    `sizes`, `rows_per_epoch`, `steps_per_epoch` and `tokens_per_epoch` are those of epoch 0.
    """

    model: str
    parameters: int
    trainable_parameters: int
    gpus: int
    gpu_memory_gb: float
    zero_stage: int
    state_gib_per_gpu: float
    state_from: str
    activation_gib_per_gpu: float
    reserved_gib_per_gpu: float
    fits: bool
    global_batch: int
    micro_batch: int
    accumulation: int
    epochs: int
    rows_per_epoch: int
    sizes: Mixture
    steps_per_epoch: int
    tokens_per_row: dict[str, float]
    tokens_per_epoch: int
    tokens_per_second: float | None
    hours: float | None
    assumptions: list[str]


def first_mixture(config: Config, run: RunFolder | None) -> tuple[Mixture, str]:
    """The first epoch's mixture and its source: the run's mixture.json; otherwise `mix`; otherwise
    the paper's answer, where nothing was searched yet.

    Raises InputError when the training rows of each domain are needed and not known.
    """
    if run is not None and run.mixture.exists():
        return FoundMix.read(run.mixture).rows, "mixture.json"
    sizes = config.expected_sizes
    if run is not None and (run.catalog / "manifest.json").exists():
        sizes = read_sizes(run.catalog)
    if sizes is None:
        raise InputError("data.expected_rows is needed to plan without data")
    mix, source = (config.mix, "mix") if config.mix else (FOUND, "the paper's answer, not searched")
    return from_ratios(mix.model_dump(), sizes["scoring"]), source


def row_tokens(folder: Path, shape: LlavaOnevisionConfig, max_length: int) -> dict[str, float]:
    """Mean tokens of a row by domain, from rows spread evenly over each domain of a catalog.

    Text is counted by its characters. Image files are opened, not decoded. A row without an image
    gets a blank one, which tower and decoder compute as well. Raises InputError naming an image
    that can't be read.
    """
    catalog, side = open_catalog(folder), shape.vision_config.image_size
    means: dict[str, float] = {}
    start = 0
    for domain in DOMAINS:
        count = catalog.sizes[domain]
        chosen = start + np.unique(np.linspace(0, count - 1, min(SAMPLE, count)).astype(int))
        start += count
        lengths = []
        for row in catalog.take(chosen):
            size = side, side
            if row["image"] is not None:
                path = folder / row["image"]
                try:
                    with Image.open(path) as image:
                        size = image.height, image.width
                except (OSError, UnidentifiedImageError) as error:
                    raise InputError(f"{path}: not a readable image ({error})") from None
            tokens = row["length"] / CHARACTERS_A_TOKEN + image_tokens(size, shape)
            lengths.append(min(tokens, max_length))
        means[domain] = sum(lengths) / len(lengths)
    return means


def estimate(
    config: Config,
    shape: LlavaOnevisionConfig,
    run: RunFolder | None,
    gpus: int | None,
    memory_gb: float,
    tokens_per_second: float | None,
) -> Estimate:
    """Estimate a training on `gpus` GPUs, by default `train.workers`.

    `shape`: the model's configuration; it is built on the meta device. `run`: its mixture and its
    catalog are used as far as they exist. `memory_gb`: of one GPU, in 10^9 bytes.
    `tokens_per_second`: of all GPUs together. Raises InputError for a global batch that can't be
    divided among these GPUs, and as `first_mixture` and `row_tokens` do.
    """
    mixture, mixture_from = first_mixture(config, run)
    gpus = config.train.workers if gpus is None else gpus
    accumulated = accumulation(config.train, gpus)
    if memory_gb <= 0:
        raise InputError(f"GPU memory: {memory_gb} GB; a number above 0 is needed")
    if tokens_per_second is not None and not tokens_per_second > 0:
        raise InputError(f"tokens per second: {tokens_per_second}; a number above 0 is needed")
    model = on_meta(shape)
    parameters = sum(p.numel() for p in model.parameters())
    prepare(model, config.models.freeze_vision, config.train)
    weights = Weights.of(model)
    state, state_from = state_bytes(weights, config.train, gpus)
    activations = activation_bytes(shape, weights, config.train, config.models.max_length)
    assumed = [
        f"mixture of epoch 0: {mixture_from}; the controller may change later epochs",
        f"activations: rows of {config.models.max_length} tokens (models.max_length), images of "
        f"{most_tiles(shape)} tiles, answers of at most {LONGEST_ANSWER} tokens",
        f"{RESERVED_GIB} GiB of each GPU reserved for CUDA, NCCL and fragmentation",
    ]
    # A catalog of row counts alone has no rows.arrow.
    if run is not None and (run.catalog / "rows.arrow").exists():
        tokens_per_row = row_tokens(run.catalog, shape, config.models.max_length)
        assumed.append("tokens of a row: from the catalog's images, and a token for 4 characters")
    else:
        image = image_tokens(IMAGE_SIZE, shape)
        tokens_per_row = {domain: float(image + TEXT_TOKENS[domain]) for domain in DOMAINS}
        assumed.append(
            f"tokens of a row: an image of {IMAGE_SIZE[1]} x {IMAGE_SIZE[0]} pixels ({image} "
            f"tokens), and {', '.join(f'{n} of {d} text' for d, n in TEXT_TOKENS.items())}"
        )
    batch = config.train.training.batch_size
    tokens = round(sum(mixture.counts()[d] * tokens_per_row[d] for d in DOMAINS))
    needed = (state + activations) / GIB + RESERVED_GIB
    whole = config.train.epochs * tokens
    return Estimate(
        model=config.models.primary,
        parameters=parameters,
        trainable_parameters=weights.trained,
        gpus=gpus,
        gpu_memory_gb=memory_gb,
        zero_stage=config.train.zero_stage,
        state_gib_per_gpu=state / GIB,
        state_from=state_from,
        activation_gib_per_gpu=activations / GIB,
        reserved_gib_per_gpu=RESERVED_GIB,
        fits=needed <= memory_gb * 1e9 / GIB,
        global_batch=batch,
        micro_batch=config.train.micro_batch,
        accumulation=accumulated,
        epochs=config.train.epochs,
        rows_per_epoch=mixture.total,
        sizes=mixture,
        steps_per_epoch=-(-mixture.total // batch),
        tokens_per_row=tokens_per_row,
        tokens_per_epoch=tokens,
        tokens_per_second=tokens_per_second,
        hours=whole / tokens_per_second / 3600 if tokens_per_second else None,
        assumptions=assumed,
    )


@dataclass(frozen=True)
class Weights:
    """Numbers of weights: all, trained, of the largest layer. `vision`: the tower is trained."""

    total: int
    trained: int
    largest_layer: int
    vision: bool

    @classmethod
    def of(cls, model: Module) -> Weights:
        """Count a model's weights, tied ones once; it may be on the meta device.

        DeepSpeed's own count compares addresses, and all weights of the meta device have the same.
        """
        named = list(model.named_parameters())
        return cls(
            sum(p.numel() for _, p in named),
            sum(p.numel() for _, p in named if p.requires_grad),
            max(sum(p.numel() for p in m.parameters(recurse=False)) for m in model.modules()),
            any(p.requires_grad for name, p in named if part_of(name) == "vision"),
        )


def state_bytes(weights: Weights, train: Train, gpus: int) -> tuple[int, str]:
    """Bytes of weights, gradients and optimiser states on each of `gpus` GPUs, and their source:
    DeepSpeed's estimator where there is one, otherwise bytes for each weight.

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


def activation_bytes(
    config: LlavaOnevisionConfig, weights: Weights, train: Train, max_length: int
) -> int:
    """Bytes of activations on one GPU at the end of one micro-batch's forward pass, including the
    layer that is recomputed."""
    size = 4 if train.precision == "fp32" else 2
    text, vision = config.text_config, config.vision_config
    rows = train.rows_at_once(max_length)
    tokens = rows * max_length
    patches = (vision.image_size // vision.patch_size) ** 2
    seen = rows * most_tiles(config) * patches

    decoder = text_layer_bytes(text, size) * tokens
    stacks = [(text.num_hidden_layers, size * text.hidden_size * tokens, decoder)]
    if weights.vision:
        tower = tower_layer_bytes(vision, size) * seen
        stacks.append((vision.num_hidden_layers, size * vision.hidden_size * seen, tower))
    if train.activation_checkpointing:
        # Layers keep their inputs; one at a time is recomputed, with its gradients.
        kept = sum(layers * inputs for layers, inputs, _ in stacks)
        layers = kept + 2 * max(inner for _, _, inner in stacks)
    else:
        layers = sum(count * inner for count, _, inner in stacks)
    # The projector's two layers with the activation between, and the features laid out as an image.
    projector = size * (vision.hidden_size + 4 * text.hidden_size) * seen
    pixels = size * 3 * vision.image_size**2 * seen // patches
    # Logits in the model's type, and in float32 with their softmax and gradient.
    answers = rows * min(LONGEST_ANSWER, max_length)
    logits = (size + 12) * text.vocab_size * answers
    return layers + projector + pixels + logits


def text_layer_bytes(text: Qwen2Config, size: int) -> int:
    """Bytes that one Qwen2 layer keeps for each token."""
    hidden = text.hidden_size
    # Each norm works in float32: its input, the normalised values and its output.
    norms = 2 * (4 + 2 * size) * hidden
    # Queries, and keys and values repeated for each query head; attention's output.
    attention = size * 4 * hidden
    return norms + attention + size * 4 * text.intermediate_size


def tower_layer_bytes(vision: SiglipVisionConfig, size: int) -> int:
    """Bytes that one SigLIP layer keeps for each patch."""
    # Two norms' inputs and outputs, queries, keys, values and attention's output; the wide layer
    # before and after its activation.
    return size * (8 * vision.hidden_size + 2 * vision.intermediate_size)
