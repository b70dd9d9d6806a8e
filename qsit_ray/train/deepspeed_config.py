"""pure: DeepSpeed's JSON configuration from ours."""

from __future__ import annotations

from typing import Any

from qsit_ray.config import Train


def deepspeed_config(train: Train) -> dict[str, Any]:
    """The configuration that `deepspeed.initialize` takes; it has no "auto" values.

    The learning rate is set before each step by the loop, since the number of steps changes
    between epochs; DeepSpeed's own scheduler stays out.
    """
    settings = train.training
    accumulation = settings.batch_size // (train.workers * train.micro_batch)
    config: dict[str, Any] = {
        "train_batch_size": settings.batch_size,
        "train_micro_batch_size_per_gpu": train.micro_batch,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": settings.clip,
        "bf16": {"enabled": train.precision == "bf16"},
        "optimizer": {
            "type": "AdamW",
            "params": {
                "lr": settings.learning_rate,
                "weight_decay": settings.weight_decay,
                # The fused CPU kernel would be compiled on first use; torch's own is at hand.
                "torch_adam": not train.use_gpu,
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
    return config
