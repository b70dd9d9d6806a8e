"""torch: what the primary's run will take, before anything starts and without a GPU."""

from __future__ import annotations

from typing import Any

from qsit_ray.config import Config
from qsit_ray.errors import InputError
from qsit_ray.mixture import DOMAINS, Mixture, from_ratios
from qsit_ray.models import anyres
from qsit_ray.presets import FOUND
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
    config: Config, rows: dict[str, list[tuple[float, tuple[int, int] | None]]]
) -> dict[str, float]:
    """Mean tokens of a row by domain, from sampled rows' text tokens and image sizes.

    A row without an image gets a blank one, which the tower and the decoder go through as well.
    """
    from qsit_ray.models.architectures import described

    shape = described(config.models.primary)
    side = shape.vision_config.image_size
    return {
        domain: sum(
            min(text + anyres.tokens(size or (side, side), shape), config.models.max_length)
            for text, size in sample
        )
        / len(sample)
        for domain, sample in rows.items()
    }


def estimate(
    config: Config,
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
    from qsit_ray.models.architectures import described, on_meta
    from qsit_ray.models.trainable import prepare
    from qsit_ray.train.memory import GIB, LONGEST_ANSWER, Weights, activation_bytes, state_bytes

    shape = described(config.models.primary)
    model = on_meta(shape)
    parameters = sum(p.numel() for p in model.parameters())
    prepare(model, config.models.freeze_vision, config.train)
    weights = Weights.of(model)
    state, state_from = state_bytes(weights, config.train, gpus)
    activations = activation_bytes(shape, weights, config.train, config.models.max_length)
    assumed = [
        f"mixture of epoch 0: {mixture_from}; the controller may change later epochs",
        f"activations: rows of {config.models.max_length} tokens (models.max_length), images of "
        f"{anyres.most_tiles(shape)} tiles, answers of at most {LONGEST_ANSWER} tokens",
        f"{RESERVED_GIB} GiB of each GPU reserved for CUDA, NCCL and fragmentation",
    ]
    if row_tokens is None:
        image = anyres.tokens(IMAGE_SIZE, shape)
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
