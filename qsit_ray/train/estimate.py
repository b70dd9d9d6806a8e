"""torch: memory, steps, tokens and hours of the primary's training, estimated without a GPU."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from transformers import PretrainedConfig

from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.presets import FOUND
from qsit_ray.data.catalog import read_sizes
from qsit_ray.data.tokens import read_tokens
from qsit_ray.errors import InputError
from qsit_ray.mixture import DOMAINS, Mixture, from_ratios
from qsit_ray.models.architectures import image_tokens, most_tiles, on_meta
from qsit_ray.models.trainable import prepare
from qsit_ray.run_files import FoundMix
from qsit_ray.train.deepspeed_config import accumulation
from qsit_ray.train.memory import (
    CANDIDATES,
    LONGEST_ANSWER,
    Peaks,
    Row,
    Weights,
    evaluation_bytes,
    number_size,
    peaks,
    state_bytes,
    training_bytes,
)

GIB = 2**30
# Of a GPU's memory: the CUDA context, NCCL's buffers, fragmentation.
RESERVED_GIB = 6.0
# Assumed before the rows are counted: tokens of a row's text by domain (one scoring question and
# its answer; a pathway's feedback or a question; one of LLaVA-Instruct's conversations) and an
# image's size. KonIQ's images are 1024 x 768.
TEXT_TOKENS = {"scoring": 40, "interpreting": 80, "general": 320}
OTHER_TEXT_TOKENS = TEXT_TOKENS["general"]
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
    peak_gib_per_gpu: dict[str, float]
    export_host_gib: float
    reserved_gib_per_gpu: float
    fits: bool
    micro_batch_that_fits: int
    batch_tokens_that_fit: int
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
    mix, source = config.mix, "mix"
    if mix is None and config.pools == DOMAINS:
        mix, source = FOUND, "the paper's answer, not searched"
    if mix is None:
        raise InputError(
            f"{run.path if run else 'mix'}: no mix yet to plan; the search comes first"
        )
    return from_ratios({pool: mix[pool] for pool in config.pools}, sizes[config.pools[0]]), source


def row_tokens(run: RunFolder) -> dict[str, float]:
    """Mean tokens of a row by domain, as the run's `tokens` stage has counted them."""
    counted, sizes = read_tokens(run, "primary").tokens, read_sizes(run.catalog)
    ends = np.cumsum([*sizes.values()])
    parts = np.split(counted, ends[:-1])
    return {pool: float(part.mean()) for pool, part in zip(sizes, parts, strict=True)}


def estimate(
    config: Config,
    shape: PretrainedConfig,
    run: RunFolder | None,
    gpus: int | None,
    memory_gb: float,
    tokens_per_second: float | None,
) -> Estimate:
    """Estimate a training on `gpus` GPUs, by default `train.workers`; its memory then on
    `train.min_workers`, where each GPU holds most.

    `shape`: the model's configuration; it is built on the meta device. `run`: its mixture and its
    catalog are used as far as they exist. `memory_gb`: of one GPU, in 10^9 bytes.
    `tokens_per_second`: of all GPUs together. Raises InputError for a global batch that can't be
    divided among these GPUs, and as `first_mixture` and `read_tokens` do.
    """
    mixture, mixture_from = first_mixture(config, run)
    fewest = config.train.least(config.train.workers) if gpus is None else gpus
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
    state, state_from = state_bytes(weights, config.train, fewest)
    row = Row(shape, weights, number_size(config.train), config.models.max_length)
    found = peaks(config, shape, weights, fewest)
    free = memory_gb * 1e9 - RESERVED_GIB * GIB
    assumed = [
        f"mixture of epoch 0: {mixture_from}; the controller may change later epochs",
        f"activations: rows of {config.models.max_length} tokens (models.max_length), images of "
        f"{most_tiles(shape)} tiles, answers of at most {LONGEST_ANSWER} tokens",
        f"questions of {CANDIDATES} candidates",
        f"{RESERVED_GIB} GiB of each GPU reserved for CUDA, NCCL and fragmentation",
    ]
    if fewest < gpus:
        assumed.append(f"memory: on {fewest} GPUs (train.min_workers), where each holds most")
    if run is not None and run.tokens("primary").exists():
        tokens_per_row = row_tokens(run)
        assumed.append("tokens of a row: as counted in the run's data")
    else:
        image = image_tokens(IMAGE_SIZE, shape)
        text = {pool: TEXT_TOKENS.get(pool, OTHER_TEXT_TOKENS) for pool in config.pools}
        tokens_per_row = {pool: float(image + count) for pool, count in text.items()}
        assumed.append(
            f"tokens of a row: an image of {IMAGE_SIZE[1]} x {IMAGE_SIZE[0]} pixels ({image} "
            f"tokens), and {', '.join(f'{n} of {pool} text' for pool, n in text.items())}"
        )
    batch = config.train.training.batch_size
    tokens = round(sum(rows * tokens_per_row[pool] for pool, rows in mixture.items()))
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
        activation_gib_per_gpu=training_bytes(row, config.train) / GIB,
        peak_gib_per_gpu=_gib(found),
        export_host_gib=found.export_host / GIB,
        reserved_gib_per_gpu=RESERVED_GIB,
        fits=found.gpu <= free,
        micro_batch_that_fits=_largest_micro_batch(config, row, found, fewest, free),
        batch_tokens_that_fit=_largest_budget(config, row, found, free),
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


def _gib(found: Peaks) -> dict[str, float]:
    return {name: value / GIB for name, value in asdict(found).items() if name != "export_host"}


def _largest_micro_batch(config: Config, row: Row, found: Peaks, gpus: int, free: float) -> int:
    """The most rows of a micro-batch that fit, of a GPU's share of the global batch; 0 for none."""
    share = -(-config.train.training.batch_size // gpus)
    held = found.training - training_bytes(row, config.train)
    one = training_bytes(row, config.train.model_copy(update={"micro_batch": 1}))
    return max(0, min(share, int((free - held) // one)))


def _largest_budget(config: Config, row: Row, found: Peaks, free: float) -> int:
    """The most `evaluate.batch_tokens`, in whole rows of `models.max_length`, that fit, or 0."""
    now = evaluation_bytes(row, config.evaluate.batch_tokens)
    one = evaluation_bytes(row, row.tokens)
    held = max(found.validation, found.evaluation) - now
    return max(0, int((free - held) // one)) * row.tokens
