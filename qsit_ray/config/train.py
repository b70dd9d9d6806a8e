"""pure: the settings of a training: its optimisation, the controller, what is trained and where it
is logged (docs/TRAIN.md, docs/CONTROLLER.md)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from qsit_ray.config.section import Count, Positive, Section


class Training(Section):
    """One optimisation: AdamW, linear warm-up, cosine decay to `final_share` of the rate."""

    batch_size: Count
    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    final_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    clip: Positive = 1.0


class Controller(Section):
    """How far one decision of the controller goes; the paper names the direction only.

    A side never exceeds `max_growth` times its first size. With `shrink` the leading side gives up
    the same factor, down to `min_growth` times its first size; without, it keeps its size.
    """

    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.05
    step_rule: Literal["fixed", "proportional"] = "fixed"
    step: Positive = 0.2
    gain: Positive = 1.0
    max_step: Positive = 0.5
    max_growth: Annotated[float, Field(ge=1)] = 2.0
    shrink: bool = False
    min_growth: Annotated[float, Field(gt=0, le=1)] = 1.0
    exhausted: Literal["repeat", "hold"] = "repeat"
    max_repeats: Count = 4


class Lora(Section):
    """Low-rank adapters on the language model's linear layers, in place of its weights."""

    rank: Count = 16
    alpha: Count = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )


class Rates(Section):
    """Peak learning rate of each part of the primary; null is `training.learning_rate`."""

    vision: Positive | None = None
    projector: Positive | None = None
    language: Positive | None = None


class Mlflow(Section):
    """MLflow; it reads credentials from its own environment variables."""

    tracking_uri: str
    experiment: str = "qsit_ray"

    @field_validator("tracking_uri")
    @classmethod
    def _no_secret(cls, uri: str) -> str:
        if "@" in uri.partition("://")[2].partition("/")[0]:
            raise ValueError("no user or password here; MLflow reads them from its environment")
        return uri


class Wandb(Section):
    """Weights & Biases; it reads its key from its own environment variable."""

    project: str = "qsit_ray"
    mode: Literal["online", "offline"] = "online"


class Tracker(Section):
    """One place that epochs are logged to beside epochs.jsonl."""

    mlflow: Mlflow | None = None
    wandb: Wandb | None = None

    @model_validator(mode="after")
    def _one(self) -> Tracker:
        if (self.mlflow is None) == (self.wandb is None):
            raise ValueError("a tracker is either mlflow or wandb")
        return self


class Train(Section):
    """The primary's run: `epochs` passes of Ray Train with DeepSpeed, remixed in between by the
    `controller`; without one every epoch has the first one's mixture.

    `frozen` parts keep their weights, as the tower does under `models.freeze_vision`; `lora` trains
    adapters in the language model's place. `bf16_states` also keeps master weights, gradients and
    optimiser states in bf16. `schedule`: what follows the warm-up (docs/TRAIN.md).

    A checkpoint is written at each epoch's end, and inside it every `checkpoint_minutes` or
    `checkpoint_steps`; the last `checkpoints_kept` and the best are kept. A global batch whose loss
    is not finite or over `loss_limit` (nats a token) stops the run, or has it go back to its last
    checkpoint and pass over that batch (`on_bad_loss`)."""

    training: Training
    epochs: Count
    workers: Count
    micro_batch: Count
    zero_stage: Annotated[int, Field(ge=0, le=3)]
    controller: Controller | None = Controller()
    use_gpu: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    bf16_states: bool = False
    offload_optimizer: bool = False
    activation_checkpointing: bool = False
    frozen: Annotated[tuple[Literal["projector", "language"], ...], Field(strict=False)] = ()
    lora: Lora | None = None
    rates: Rates = Rates()
    schedule: Literal["cosine", "constant"] = "cosine"
    trackers: Annotated[tuple[Tracker, ...], Field(strict=False)] = ()
    max_failures: Annotated[int, Field(ge=0)] = 2
    checkpoints_kept: Count = 2
    checkpoint_minutes: Positive | None = 30.0
    checkpoint_steps: Count | None = None
    loss_limit: Positive = 30.0
    on_bad_loss: Literal["stop", "rollback"] = "stop"

    @model_validator(mode="after")
    def _whole_batches(self) -> Train:
        if self.training.batch_size % (self.workers * self.micro_batch):
            raise ValueError(
                f"training.batch_size {self.training.batch_size} is no multiple of "
                f"{self.workers} workers x micro_batch {self.micro_batch}"
            )
        return self

    @model_validator(mode="after")
    def _states(self) -> Train:
        if self.bf16_states and not (self.precision == "bf16" and self.zero_stage):
            raise ValueError("bf16_states needs precision bf16 and zero_stage 1, 2 or 3")
        if self.offload_optimizer and not (self.use_gpu and self.zero_stage):
            raise ValueError("offload_optimizer needs use_gpu and zero_stage 1, 2 or 3")
        return self

    @model_validator(mode="after")
    def _parts(self) -> Train:
        if self.lora is not None and "language" in self.frozen:
            raise ValueError("lora trains the language model, which frozen keeps as it is")
        return self
