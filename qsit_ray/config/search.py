"""pure: the settings of the proxy search: its axes, its trials and their training."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from qsit_ray.config.section import OPERATIONAL, Count, Nodes, NotNegative, Positive, Section
from qsit_ray.config.train import Training
from qsit_ray.mixture import AXES


def _distinct(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(values)) < len(values):
        raise ValueError("values repeat")
    return values


# YAML has lists only; everything else keeps its type strictly.
_List = Field(strict=False, min_length=1)
Ratios = Annotated[tuple[Positive, ...], _List, AfterValidator(_distinct)]
Seed = Annotated[int, Field(ge=0, lt=1000)]
Seeds = Annotated[tuple[Seed, ...], _List, AfterValidator(_distinct)]


class Space(Section):
    """One search axis: the content of a file of search_spaces/."""

    axis: str
    """The searched ratio: `interpreting_general` is D2:D3, `interpreting_scoring` is (D2+D3):D1
    (Algorithm 1, steps 1 and 2). Of pools a, b, c and d in this order the axes are c_d, c_b and
    c_a: c:d, (c+d):b and (b+c+d):a; of a and b alone b_a."""
    ratios: Ratios
    """Ratios of the grid. An adaptive search takes its interval from the least and the greatest."""
    seeds: Seeds
    """Seeds of the repeats at each ratio, below 1000: the run's `seed` times 1000 is added."""
    objective: str
    """Score to maximise on validation data: `interpreting` is question accuracy, `both` the mean of
    accuracy and (SRCC + PLCC) / 2, `loss_interpreting` is -log L_I, `loss_scoring` -log L_S, and
    `losses` the mean of these two. The losses of a few short trials tell much, those of long ones
    less (docs/SEARCH.md). The paper's are the first two. Of `data.source` pools: `loss_<task>` of
    one of the `tasks`, or `losses`."""
    answers: Literal["accuracy", "probability"] = "accuracy"
    """How validation questions count in the score. `accuracy` is the paper's. `probability` is the
    mean probability of the right answer: it has less noise where questions are few."""
    coordinate: Literal["ratio", "log", "share"]
    """Coordinate of the polynomial: the ratio r, its logarithm, or the share r / (1 + r)."""
    degree: Annotated[int, Field(ge=1, le=8)] = 4
    """Degree of the polynomial; 4 is the paper's quartic. It must be below the number of ratios."""
    surrogate: Literal["polynomial", "recommended"] = "polynomial"
    """Curve that gives the optimum. `polynomial` is the paper's; `recommended` is a Gaussian
    process over log-ratio, whose intervals cover the best ratio as often as stated."""

    @model_validator(mode="after")
    def _enough(self) -> Space:
        if len(self.ratios) <= self.degree:
            raise ValueError(
                f"{len(self.ratios)} ratios are too few for a curve of degree {self.degree}"
            )
        return self


# An adaptive search chooses from these ratios, even in log-ratio: 12 % apart on the paper's axis.
CANDIDATES = 41


def setting(axis: str) -> str:
    """The dotted key of an axis's settings."""
    return f"search.{axis}" if axis in AXES else f"search.axes.{axis}"


class Adaptive(Section):
    """Ratios proposed in rounds, each from the scores of all rounds before."""

    trials: Count = 14
    """Maximum number of trials of an axis; 14 is a quarter of the paper's grid (docs/SEARCH.md: its
    loss)."""
    batch: Count = 4
    """Trials of a round; more fill more devices at once, each proposed from fewer scores."""
    tolerance: Positive = 0.001
    """The search ends when the best ratio loses at most this with 95 % probability, in units of the
    score; 0.001 is a tenth of a point of accuracy."""


class Scouts(Section):
    """Short trials before the others, one at a ratio: their losses show where the score may peak,
    and the full trials how far that holds."""

    ratios: Annotated[int, Field(ge=3)] = 6
    """Ratios of the scouts, even in log-ratio from the least of the axis to the greatest."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.33
    """Length of a scout, as a share of the longest that a trial may be."""


class Rehearsal(Section):
    """Trials that wait instead of training and return a score of a planted curve."""

    interpreting_general: Positive
    """Ratio at which the planted curve of this axis peaks."""
    interpreting_scoring: Positive
    """Ratio at which the planted curve of this axis peaks."""
    loss_ratio: Positive
    """Planted λ = L_S / L_I."""
    noise: NotNegative
    """Standard deviation of a trial's score around the curve, in units of the score."""
    rows_per_second: Positive
    """Speed of the pretended training."""


class Search(Section):
    """The proxy search. A trial ends at `max_steps` or `max_epochs`, whichever is first, or when
    its validation loss no longer improves."""

    interpreting_general: Space | None = None
    """First axis, D2:D3. Null: of other pools."""
    interpreting_scoring: Space | None = None
    """Second axis, (D2+D3):D1, searched at the optimum of the first. Null: of other pools."""
    axes: dict[str, Space] = Field(default_factory=dict)
    """The axes of `data.source` pools, by their names."""
    adaptive: Adaptive | None = None
    """Proposes ratios from the scores so far. Null: every ratio of the grid, as in the paper."""
    scouts: Scouts | None = None
    """Short trials before the others. Their losses are evidence where the score peaks, with a
    factor and a bias of their own. Null: none."""
    earlier: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Run folders whose trials are evidence too, such as of another seed or of other pools: scores
    and losses, each with a factor and a bias of its own."""
    storage: str | None = None
    """Folder or URL, such as s3://bucket/run, for outcomes, checkpoints and Tune's state; every
    node must reach it. Null: the run folder, which is enough on one machine."""
    rehearsal: Rehearsal | None = None
    """Makes trials pretend to train, to try a cluster out. Null: trials train."""
    training: Training
    """Optimisation of a proxy."""
    max_steps: Count | None = None
    """Maximum number of optimiser steps of a trial. Null: only `max_epochs` limits it."""
    max_epochs: Count | Positive | None = None
    """Maximum number of passes over a trial's mixture; 0.5 is half of it. Null: only `max_steps`
    limits it."""
    max_repeats: Count = 4
    """Maximum number of uses of one row in one pass; a mixture that needs more is refused. Up to 4
    uses of a row are worth nearly as much as new rows (Muennighoff et al. 2023, 2305.16264)."""
    evaluate_every: Count
    """Optimiser steps between two evaluations."""
    patience: Count | None
    """Evaluations without improvement after which a trial ends. Null: it never ends by them."""
    micro_batch: Annotated[Count | None, OPERATIONAL] = None
    """Maximum number of rows that go through the proxy at once; gradients accumulate. Null: all."""
    micro_tokens: Annotated[Count | None, OPERATIONAL] = None
    """Maximum number of tokens at once in the proxy: rows times the longest row's text and image. A
    longer row goes alone. Null: any number; if `micro_batch` is null too, the whole batch."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Type of the arithmetic; `bf16` is autocast. Weights and optimiser states are fp32 in both.
    `fp32` runs on every machine."""
    activation_checkpointing: Annotated[bool, OPERATIONAL] = False
    """Computes activations again in the backward pass instead of keeping them: less memory, about a
    third more work. Off, since small proxies fit without it."""
    min_improvement: Annotated[float, Field(ge=0)] = 0.0
    """Nats a token by which the validation loss must fall to improve; at 0 any fall counts."""
    proxy_seeds: Seeds = (0, 1, 2)
    """Seeds of the final proxies, which give λ; three, like the paper's repeats of a trial."""
    proxy_epochs: Count | None = None
    """Passes over the mix that the final proxies train, without an end at a plateau: as many as
    the primary's, and λ is known after each of its epochs. Null: they end as trials do."""
    cpus_per_trial: Annotated[Positive, OPERATIONAL] = 1.0
    """CPU cores that a trial holds; those beyond the first encode rows ahead of the training. At 1
    as many trials run at once as the machine has cores."""
    gpus_per_trial: Annotated[float, Field(ge=0), OPERATIONAL] = 0.0
    """GPUs that a trial holds; fractions share one. At 0 trials run on CPU."""
    nodes: Annotated[Nodes, OPERATIONAL] = Field(default_factory=dict)
    """Labels of the nodes that trials run on, such as {ray.io/accelerator-type: L40S}. Only a
    cluster's nodes have labels: ignored without one. None by default: any node will do."""
    max_failures: Annotated[int, Field(ge=0), OPERATIONAL] = 2
    """Restarts of a failed trial, before the search continues without it; 2 outlasts a lost node,
    not a fault of the trial itself."""
    max_concurrent: Annotated[Count | None, OPERATIONAL] = None
    """Maximum number of trials at once. Null: as many as there are free cores, or GPUs."""
    checkpoint_every: Annotated[Count, OPERATIONAL] = 1
    """Evaluations between two checkpoints of a trial, each of which holds weights and optimiser: 11
    to 14 GB of a proxy of 0.5B. With a GPU they are written while the training goes on."""
    lost_ratios: Annotated[Literal["stop", "skip"], OPERATIONAL] = "stop"
    """When all trials of a ratio have failed: `stop` ends the search with the reasons, and the next
    command tries these trials again; `skip` fits the others. Rows are nested, so that one broken
    row takes every ratio beyond it away, and the optimum of the rest may be far off."""
    on_doubt: Annotated[Literal["continue", "ask", "stop"], OPERATIONAL] = "continue"
    """When a fitted search leaves a doubt, before the primary is trained on it: no ratio stands
    out, the best is an end of the search, or trials are missing. `ask` shows what more trials would
    cost and asks; without a terminal, or with `stop`, the run ends there."""

    @property
    def final(self) -> Search:
        """The settings of the final proxies."""
        if self.proxy_epochs is None:
            return self
        length = {"max_steps": None, "max_epochs": self.proxy_epochs, "patience": None}
        return self.model_copy(update=length)

    @property
    def scouting(self) -> Search:
        """The settings of the scouts: of an axis that has them."""
        share = self.scouts.share if self.scouts else 1.0
        steps = None if self.max_steps is None else max(1, round(share * self.max_steps))
        epochs = None if self.max_epochs is None else share * self.max_epochs
        return self.model_copy(update={"max_steps": steps, "max_epochs": epochs, "patience": None})

    @model_validator(mode="after")
    def _ends(self) -> Search:
        if self.max_steps is None and self.max_epochs is None:
            raise ValueError("max_steps or max_epochs is needed: a trial must end")
        return self

    @property
    def spaces(self) -> dict[str, Space]:
        """The settings of each axis, by its name."""
        own = {name: getattr(self, name) for name in AXES}
        return {**{name: space for name, space in own.items() if space is not None}, **self.axes}

    @model_validator(mode="after")
    def _names(self) -> Search:
        for name, space in self.spaces.items():
            if space.axis != name:
                raise ValueError(f"{name}: its axis is {space.axis!r}; expected {name!r}")
        return self

    @model_validator(mode="after")
    def _enough_seeds(self) -> Search:
        for space in self.spaces.values():
            most = CANDIDATES * len(space.seeds)
            if self.adaptive is not None and self.adaptive.trials > most:
                raise ValueError(
                    f"adaptive.trials: {self.adaptive.trials}; the {len(space.seeds)} seeds of "
                    f"{space.axis} allow at most {most}"
                )
        return self

    def longest(self, rows: int) -> int:
        """Maximum number of optimiser steps of a trial on a mixture of `rows` rows."""
        limits = [self.max_steps] if self.max_steps is not None else []
        if self.max_epochs is not None:
            limits.append(math.ceil(self.max_epochs * -(-rows // self.training.batch_size)))
        return min(limits)
