"""pure: DeepSpeed's JSON configuration from ours."""

from __future__ import annotations

from typing import Any

from qsit_ray.config.train import Train
from qsit_ray.errors import InputError

Settings = dict[str, Any]
"""DeepSpeed's JSON configuration."""


def accumulation(train: Train, world_size: int) -> int:
    """The fewest micro-batches in which each of `world_size` ranks trains a global batch;
    `train.micro_tokens` can make it more.

    Raises InputError for a number of workers that a global batch has no rows for.
    """
    batch = train.training.batch_size
    if world_size < 1:
        raise InputError(f"{world_size} workers; at least 1 is needed")
    if batch < world_size:
        raise InputError(
            f"train.training.batch_size {batch} has fewer rows than the {world_size} workers"
        )
    return -(-batch // (world_size * train.micro_batch))


def deepspeed_config(train: Train) -> Settings:
    """The configuration that `deepspeed.initialize` takes; it has no "auto" values.

    It is the same for every world size. The engine sets what changes from step to step: learning
    rates, without DeepSpeed's scheduler, since the number of steps changes between epochs, and
    which micro-batch is a step's last, since their number changes with the rows. So DeepSpeed's own
    batch sizes say nothing. Activation checkpointing is the model's own
    (`qsit_ray.models.trainable.prepare`), not DeepSpeed's.
    """
    settings = train.training
    config: Settings = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
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
    if train.precision == "bf16" and train.zero_stage >= 2 and not train.bf16_states:
        # Otherwise bf16, in which a sum of many micro-batches loses the small ones. Without ZeRO
        # DeepSpeed adds up in float32 of itself; at stage 1 every rank would hold all gradients in
        # float32, in another optimiser with checkpoints of its own.
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    if train.offload_optimizer:
        config["zero_optimization"]["offload_optimizer"] = {"device": "cpu"}
    return config
