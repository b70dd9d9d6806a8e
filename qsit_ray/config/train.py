"""pure: the settings of a training: optimisation, controller, trained parts, trackers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from qsit_ray.config.section import OPERATIONAL, Count, Nodes, Positive, Section


class Training(Section):
    """AdamW with linear warm-up and cosine decay."""

    batch_size: Count
    """Rows of a global batch, one optimiser step, over all workers and accumulation."""
    learning_rate: Positive
    """Peak learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay of AdamW; none, as in LLaVA's fine-tuning."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the run over which the rate rises from 0 (of the first epoch where `train.schedule`
    is constant); a twentieth lets AdamW's averages settle at small rates."""
    final_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Rate at the end as a share of the peak; above 0, so that the last rows still count."""
    clip: Positive = 1.0
    """Largest norm of the gradient; longer ones are scaled down. 1 is the usual bound."""


class Controller(Section):
    """The size of the controller's steps (docs/CONTROLLER.md); the paper gives their direction."""

    reference: Literal["best", "end", "epoch"] = "best"
    """λ, to which the loss ratio is brought: that of the final proxies each at its `best`
    validation loss, at the `end` of their training, or after as many epochs of the mix as the
    primary has trained (`epoch`): the ratio changes while a model learns, the proxy's too."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Relative band around λ in which nothing changes, at least the standard error of λ over the
    final proxies; a few hundred validation rows leave some per cent of noise in the loss ratio."""
    step_rule: Literal["fixed", "proportional"] = "fixed"
    """`fixed`: the lagging side grows by the share `step`. `proportional`: by the factor
    deviation^`gain`, the deviation being the loss ratio over λ or λ over it. A fixed step needs no
    model of the effect's size."""
    step: Positive = 0.2
    """Share by which a side grows under `fixed`. The two steps of three epochs make 44 %: enough
    for a primary's deviations, and no doubling on one noisy reading."""
    gain: Positive = 1.0
    """Exponent of the deviation under `proportional`; a loss falls more slowly than its rows grow,
    so 1 does not overshoot."""
    max_step: Positive = 0.5
    """Largest share by which a side grows in one step under `proportional`."""
    max_growth: Annotated[float, Field(ge=1)] = 2.0
    """Maximum number of rows of a side, as a multiple of its rows in the first epoch; 2 keeps the
    cost within twice the planned one."""
    shrink: bool = False
    """Shrinks the leading side by the same factor. Off: the paper only enlarges."""
    min_growth: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Fewest rows of a side under `shrink`, as a multiple of its rows in the first epoch; at 1 a
    side gives back only rows that it was given before."""
    exhausted: Literal["repeat", "hold"] = "repeat"
    """When an epoch takes all rows of the lagging side already: use rows again, or hold its size.
    `repeat`, since D1 is all taken from the first epoch on and could never grow."""
    max_repeats: Count = 4
    """Maximum number of uses of one row in an epoch under `repeat`; as in the search
    (`search.max_repeats`). With `train.epoch_rows: fresh`, which may start within a pass over the
    domain, a row can come once more."""


class Lora(Section):
    """Low-rank adapters on the language model's linear layers, in place of its weights."""

    rank: Count = 16
    """Rank of the update of each layer; 16 is a usual size."""
    alpha: Count = 32
    """Scale: the update counts alpha / rank times. Twice the rank is the usual choice."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout before the adapters; none, which is peft's own default."""
    targets: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    """Names of the layers with adapters; by default every linear layer of a Qwen2 block."""


class Rates(Section):
    """Peak learning rate of each part of the primary. The paper names one rate for all."""

    vision: Positive | None = None
    """Vision tower. Null: `training.learning_rate`."""
    projector: Positive | None = None
    """Projector and the embedding of an image's row ends. Null: `training.learning_rate`."""
    language: Positive | None = None
    """Language model or its adapters. Null: `training.learning_rate`."""


class Mlflow(Section):
    """MLflow; it reads credentials from its own environment variables."""

    tracking_uri: str
    """Address of the tracking server, or a local path, without a user or a password."""
    experiment: str = "qsit_ray"
    """Experiment that the run is logged to; made where it does not exist."""


class Wandb(Section):
    """Weights & Biases; it reads its key from its own environment variable."""

    project: str = "qsit_ray"
    """Project that the run is logged to."""
    mode: Literal["online", "offline"] = "online"
    """`offline` writes to the run folder, to be uploaded later."""


class Tracker(Section):
    """One place, besides epochs.jsonl, where epochs are logged: `mlflow` or `wandb`."""

    mlflow: Mlflow | None = None
    """MLflow. Null: this tracker is `wandb`."""
    wandb: Wandb | None = None
    """Weights & Biases. Null: this tracker is `mlflow`."""

    @model_validator(mode="after")
    def _one(self) -> Tracker:
        if (self.mlflow is None) == (self.wandb is None):
            raise ValueError("a tracker is either mlflow or wandb")
        return self


class Train(Section):
    """The primary's training with Ray Train and DeepSpeed."""

    training: Training
    """Optimisation of the primary."""
    epochs: Count
    """Passes over the mixture, which the controller changes between them."""
    workers: Annotated[Count, OPERATIONAL]
    """Ranks; `qsit train run --workers` may change it later, and the global batch stays."""
    min_workers: Annotated[Count | None, OPERATIONAL] = None
    """Ranks with which the training starts and goes on while nodes for all are not there; each node
    that comes is taken in after the next checkpoint. The global batch stays. Null: it waits until
    all ranks have their place."""
    micro_batch: Annotated[Count, OPERATIONAL]
    """Maximum number of rows that a rank takes at once; accumulation fills the global batch."""
    micro_tokens: Annotated[Count | None, OPERATIONAL] = None
    """Maximum number of tokens at once on a rank: rows times the longest row's text and image. A
    longer row is taken alone. Null: only `micro_batch` limits, enough for rows of one length."""
    zero_stage: Annotated[int, Field(ge=0, le=3)]
    """DeepSpeed's ZeRO stage: 0 partitions nothing among the ranks, 1 optimiser states, 2 gradients
    too, 3 weights too."""
    controller: Controller | None = Controller()
    """Adjusts the mixture after each epoch (Eq. 9-10). Null: every epoch has the first mixture."""
    epoch_rows: Literal["same", "fresh"] = "same"
    """Rows of a domain that an epoch takes: the `same` ones as the epoch before, and more or fewer
    of them as its size changes, or those that come next (`fresh`), until all have been used. `same`
    is the paper's, if it drew its mixture once."""
    use_gpu: bool = False
    """One GPU a rank, in training and evaluation. Off: CPU, as the demo runs."""
    nodes: Annotated[Nodes, OPERATIONAL] = Field(default_factory=dict)
    """Labels of the nodes that ranks and evaluation run on, such as {ray.io/accelerator-type:
    H100}. Ignored without a cluster. None by default: any node will do."""
    one_node: Annotated[bool, OPERATIONAL] = True
    """Keeps all ranks on one node. On: between nodes the ranks of ZeRO wait for the network. Off,
    for more ranks than a node has GPUs."""
    cpu_nodes: Annotated[Nodes, OPERATIONAL] = Field(default_factory=dict)
    """Labels of the nodes that encode rows and convert checkpoints, which takes no GPU. Ignored
    without a cluster. None by default: any node will do."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Type of the weights and the arithmetic; `bf16` keeps an fp32 copy of the weights and fp32
    optimiser states. `fp32` runs on every machine."""
    bf16_states: bool = False
    """Under `bf16` keeps that copy, gradients and optimiser states in bf16 too: half the memory,
    but updates below a weight's rounding are lost, so it is off."""
    offload_optimizer: Annotated[bool, OPERATIONAL] = False
    """Keeps optimiser states in the host's memory. Off: it is slower, and needs a compiler on the
    GPU machine."""
    activation_checkpointing: Annotated[bool, OPERATIONAL] = False
    """Computes activations again in the backward pass instead of keeping them: less memory, about a
    third more work. Off, since small models fit without it."""
    frozen: Annotated[tuple[Literal["projector", "language"], ...], Field(strict=False)] = ()
    """Parts that keep their weights, besides the tower under `models.freeze_vision`. None by
    default: the paper trains all."""
    lora: Lora | None = None
    """Trains adapters in place of the language model's weights. Null: its weights are trained."""
    rates: Rates = Rates()
    """Peak learning rates by part."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Rate after the warm-up; `constant` is for a run that may be prolonged."""
    trackers: Annotated[tuple[Tracker, ...], Field(strict=False), OPERATIONAL] = ()
    """Where epochs are logged besides epochs.jsonl; by default nowhere, as trackers are extras."""
    max_failures: Annotated[int, Field(ge=0), OPERATIONAL] = 2
    """Restarts of the workers after a failure, and global batches that `on_bad_loss` may skip in an
    epoch; 2 outlasts a lost node, not a fault that repeats."""
    checkpoints_kept: Annotated[Count, OPERATIONAL] = 2
    """Newest checkpoints that are kept, besides the one with the least validation loss. Each holds
    weights and optimiser states, so they are few."""
    checkpoint_minutes: Annotated[Positive | None, OPERATIONAL] = 30.0
    """Minutes between checkpoints inside an epoch, and so the most that a failure costs. Null: by
    `checkpoint_steps` alone. Each epoch's end has a checkpoint in any case."""
    checkpoint_steps: Annotated[Count | None, OPERATIONAL] = None
    """Optimiser steps between checkpoints inside an epoch. Null: by `checkpoint_minutes` alone."""
    loss_limit: Annotated[Positive, OPERATIONAL] = 30.0
    """Greatest loss of a global batch, in nats a token, that training accepts. Guessing among
    152,000 tokens is 11.9, so 30 is beyond every model that learns."""
    on_bad_loss: Annotated[Literal["stop", "rollback"], OPERATIONAL] = "stop"
    """At a loss or gradient that is not finite, or a loss over `loss_limit`: `stop` leaves the rows
    for a person to look at; `rollback` returns to the last checkpoint and skips that batch."""

    def rows_at_once(self, tokens: int) -> int:
        """The maximum number of rows of `tokens` tokens each that a rank takes at once."""
        if self.micro_tokens is None:
            return self.micro_batch
        return max(1, min(self.micro_batch, self.micro_tokens // tokens))

    @model_validator(mode="after")
    def _a_row_for_each(self) -> Train:
        if self.training.batch_size < self.workers:
            raise ValueError(
                f"training.batch_size {self.training.batch_size} has fewer rows than the "
                f"{self.workers} workers"
            )
        return self

    def least(self, workers: int) -> int:
        """The fewest ranks that it trains with, where `workers` are the most."""
        return workers if self.min_workers is None else min(self.min_workers, workers)

    @model_validator(mode="after")
    def _some_of_the_ranks(self) -> Train:
        if self.min_workers is None:
            return self
        if self.min_workers > self.workers:
            raise ValueError(
                f"min_workers {self.min_workers} is more than the {self.workers} workers"
            )
        if self.one_node:
            raise ValueError(
                "min_workers needs one_node false: the ranks of one node come and go together"
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
