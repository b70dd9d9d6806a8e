"""pure: DeepSpeed's JSON configuration from ours."""

from __future__ import annotations

from typing import Any

from qsit_ray.config.train import Train
from qsit_ray.errors import InputError

Settings = dict[str, Any]
"""DeepSpeed's JSON configuration."""


def accumulation(train: Train, world_size: int) -> int:
    """The number of micro-batches that each of `world_size` ranks trains for one global batch.

    Raises InputError when the global batch can't be divided into whole micro-batches.
    """
    batch, micro = train.training.batch_size, train.micro_batch
    if world_size < 1:
        raise InputError(f"{world_size} workers; at least 1 is needed")
    if batch % world_size:
        raise InputError(
            f"train.training.batch_size {batch} can't be divided evenly among {world_size} workers"
        )
    if batch // world_size % micro:
        raise InputError(
            f"train.micro_batch {micro} doesn't divide the {batch // world_size} rows of each of "
            f"{world_size} workers in a global batch of {batch}"
        )
    return batch // (world_size * micro)


def deepspeed_config(train: Train, world_size: int | None = None) -> Settings:
    """The configuration that `deepspeed.initialize` takes; it has no "auto" values.

    The global batch is the same for every `world_size` (by default `train.workers`). Learning
    rates are set before each step by the engine, without DeepSpeed's scheduler, since the number of
    steps changes between epochs. Activation checkpointing is the model's own
    (`qsit_ray.models.trainable.prepare`), not DeepSpeed's.

    Raises InputError when the global batch can't be divided for this world size.
    """
    settings = train.training
    config: Settings = {
        "train_batch_size": settings.batch_size,
        "train_micro_batch_size_per_gpu": train.micro_batch,
        "gradient_accumulation_steps": accumulation(train, world_size or train.workers),
        "gradient_clipping": settings.clip,
        "bf16": {
            "enabled": train.precision == "bf16",
            "bf16_master_weights_and_grads": train.bf16_states,
            "bf16_optimizer_states": train.bf16_states,
        },
        "optimizer": {
            "type": "AdamW",
            "params": {
                "lr": settings.learning_rate,
                "weight_decay": settings.weight_decay,
                # DeepSpeed's own AdamW is compiled on first use, which needs a compiler that fits
                # torch's CUDA. Offloaded bf16 states leave no other choice.
                **({} if train.offload_optimizer else {"torch_adam": True, "fused": train.use_gpu}),
            },
        },
        "zero_optimization": {
            "stage": train.zero_stage,
            "stage3_gather_16bit_weights_on_model_save": train.zero_stage == 3,
        },
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1_000_000,
        "wall_clock_breakdown": False,
    }
    if train.precision == "bf16" and train.zero_stage and not train.bf16_states:
        # Otherwise bf16, in which a sum of many micro-batches loses the small ones. Without ZeRO
        # DeepSpeed adds up in float32 of itself.
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    if train.offload_optimizer:
        config["zero_optimization"]["offload_optimizer"] = {"device": "cpu"}
    return config
