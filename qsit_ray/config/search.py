"""pure: the settings of the proxy search: its axes, its trials and their training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from qsit_ray.config.section import Count, NotNegative, Positive, Section
from qsit_ray.config.train import Training
from qsit_ray.mixture import Axis

# YAML has lists only; everything else keeps its type strictly.
Ratios = Annotated[tuple[Positive, ...], Field(strict=False, min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=1000)]
Seeds = Annotated[tuple[Seed, ...], Field(strict=False, min_length=1)]


def distinct(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(values)) < len(values):
        raise ValueError("values repeat")
    return values


class Space(Section):
    """One search axis, as a file of search_spaces/ holds it."""

    axis: Axis
    ratios: Ratios
    seeds: Seeds
    objective: Literal["interpreting", "both"]
    coordinate: Literal["ratio", "log", "share"]
    degree: Annotated[int, Field(ge=1, le=8)] = 4
    surrogate: Literal["polynomial", "recommended"] = "polynomial"

    @field_validator("ratios", "seeds")
    @classmethod
    def _different(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return distinct(values)

    @model_validator(mode="after")
    def _enough(self) -> Space:
        if len(self.ratios) <= self.degree:
            raise ValueError(
                f"{len(self.ratios)} ratios are too few for a curve of degree {self.degree}"
            )
        return self


class Adaptive(Section):
    """Ratios proposed in rounds of `batch` trials, each seeing the rounds before, instead of the
    grid: until the regret that can still be is under `tolerance` (in units of the score) or an
    axis has had `trials`. The first round of `batch` is spread evenly in log-ratio.

    By default a quarter of the paper's grid, to a tenth of a point of accuracy; docs/SEARCH.md has
    what that loses. A larger `batch` fills more devices at once, and each trial knows less."""

    trials: Count = 14
    batch: Count = 4
    tolerance: Positive = 0.001


class Rehearsal(Section):
    """Trials only pretend to train: for as long as their rows take at `rows_per_second`, to a
    score of a planted curve with its peak at the axis' optimum and `noise` on each run."""

    interpreting_general: Positive
    interpreting_scoring: Positive
    loss_ratio: Positive
    noise: NotNegative
    rows_per_second: Positive


class Search(Section):
    """The proxy grid. Trials leave outcomes, checkpoints and Tune's state in `storage`, a folder or
    a URL such as s3://bucket/run that every node reaches; null is the run folder.

    A trial ends after `max_steps` or `max_epochs` passes over its mixture, whichever is first, or
    when validation loss has not improved by `min_improvement` nats for `patience` looks,
    `evaluate_every` steps apart. A batch goes through the model in parts of `micro_batch` rows;
    null is whole. No plan may use a row more than `max_repeats` times. Weights and optimiser are
    fp32; with `precision` bf16 the arithmetic is autocast. With `activation_checkpointing`
    activations are computed again instead of kept.
    """

    interpreting_general: Space
    interpreting_scoring: Space
    adaptive: Adaptive | None = None
    storage: str | None = None
    rehearsal: Rehearsal | None = None
    training: Training
    max_steps: Count | None = None
    max_epochs: Count | None = None
    max_repeats: Count = 4
    evaluate_every: Count
    patience: Count
    micro_batch: Count | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    activation_checkpointing: bool = False
    min_improvement: Annotated[float, Field(ge=0)] = 0.0
    proxy_seeds: Seeds = (0, 1, 2)
    cpus_per_trial: Positive = 1.0
    gpus_per_trial: Annotated[float, Field(ge=0)] = 0.0
    max_failures: Annotated[int, Field(ge=0)] = 2

    @field_validator("proxy_seeds")
    @classmethod
    def _different(cls, values: tuple[int, ...]) -> tuple[float, ...]:
        return distinct(values)

    @model_validator(mode="after")
    def _ends(self) -> Search:
        if self.max_steps is None and self.max_epochs is None:
            raise ValueError("max_steps or max_epochs is needed: a trial must end")
        return self

    @model_validator(mode="after")
    def _axes(self) -> Search:
        for name in ("interpreting_general", "interpreting_scoring"):
            axis = getattr(self, name).axis
            if axis != name:
                raise ValueError(f"{name}: its axis is {axis!r}; expected {name!r}")
        return self

    def longest(self, rows: int) -> int:
        """Steps after which a trial on a mixture of `rows` rows ends at the latest."""
        limits = [self.max_steps] if self.max_steps is not None else []
        if self.max_epochs is not None:
            limits.append(self.max_epochs * -(-rows // self.training.batch_size))
        return min(limits)
