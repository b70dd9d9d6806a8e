"""pure: the typed, frozen, strict configuration of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from qsit_ray.addresses import REASON, has_user, masked
from qsit_ray.config.cluster import Cluster
from qsit_ray.config.data import DemoData, LlavaData, PoolsData, RehearsalData
from qsit_ray.config.prompts import Prompts
from qsit_ray.config.search import Search, Space
from qsit_ray.config.section import OPERATIONAL, Count, NotNegative, Section
from qsit_ray.config.train import Train
from qsit_ray.losses import LOSS
from qsit_ray.mixture import DOMAINS, Axis, axes_of
from qsit_ray.prompts import Profile

DEMO_MODELS = {"demo/proxy", "demo/primary"}


LossWeighting = Literal["token_mean", "row_mean", "micro_batch_mean"]


class Models(Section):
    """The base checkpoints, and the treatment that proxy and primary share."""

    proxy: str
    """Small model of the search: `demo/proxy`, which is pre-trained once and cached, a local
    folder, or a name on the Hugging Face Hub, with `@revision` if not `main`. When the run is made
    a path becomes absolute, and the revision becomes the commit that it names at that time."""
    primary: str
    """Large model to be trained: `demo/primary`, or as for `proxy`."""
    freeze_vision: bool = True
    """Keeps the vision tower's weights in proxy and primary alike. On: it costs less, and λ of the
    proxy then compares with a primary that trains the same parts. The paper trains the tower."""
    remember_features: bool = False
    """Computes a frozen tower's features of each image once for all stages, and keeps encoded rows
    in memory. Off, since only small sets of images fit."""
    max_length: Count = 2048
    """Tokens of a row, image tokens included; longer answers are cut. 2048 is the length of LLaVA's
    own training; LLaVA-OneVision's largest images alone take over 7,000 tokens."""

    @field_validator("proxy", "primary")
    @classmethod
    def _known(cls, name: str) -> str:
        if name.startswith("demo/") and name not in DEMO_MODELS:
            known = " and ".join(sorted(DEMO_MODELS))
            raise ValueError(f"the demo's models are {known}; a folder is written as ./{name}")
        return name

    @model_validator(mode="after")
    def _frozen(self) -> Models:
        if self.remember_features and not self.freeze_vision:
            raise ValueError("remember_features needs freeze_vision: a trained tower changes")
        return self


class Pretraining(Section):
    """The length of the demo models' pre-training."""

    tower_steps: Count
    """Optimiser steps of the vision tower, on 64 crops each."""
    alignment_steps: Count
    """Optimiser steps of each model's alignment, on 32 captioned crops each."""
    crops: Count
    """Crops of training photographs that the tower learns from."""
    alignment_crops: Count
    """Crops that the alignment captions: the first of `crops`, or all where there are fewer."""


Mix = dict[str, NotNegative]
"""Rows of each pool as multiples of D1's training rows."""


class Evaluate(Section):
    """Evaluation, and the intervals of its results and of fitted optima."""

    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Confidence of the intervals; 95 % is customary."""
    batch_tokens: Annotated[Count, OPERATIONAL] = 16_384
    """Tokens that go through a model at once in validation and evaluation, image tokens and padding
    included; a longer row goes alone. 16,384 are two of the paper's longest rows, which take the 7B
    less memory than a micro-batch of its training, or some hundred of the demo's rows."""
    cpus: Annotated[Count, OPERATIONAL] = 1
    """CPUs of an actor that predicts. The others than the first encode images ahead, which a
    GPU needs for large images; 1 where the CPU itself computes."""


class Levels(Section):
    """What a scoring row trains at its level word; every other token is trained as ever."""

    target: Literal["hard", "soft"] = "hard"
    """`hard`: the level word, as in the paper. `soft`: the distribution of the opinions over the
    levels (the votes, or DeQA-Score's construction from MOS and deviation), by the cross-entropy
    against it; every D1 record then needs one."""
    ranking_weight: NotNegative = 0.0
    """Weight of the fidelity loss over pairs of one data set in a micro-batch: what the model says
    of which is better, against what the opinions say. A row adds its mean over its pairs to its
    loss. 0: none."""

    @property
    def need_shares(self) -> bool:
        return self.target == "soft" or self.ranking_weight > 0


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, text) of each text in plain values, the keys of mappings included."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield key, name
            yield from _texts(inner, f"{key}.{masked(name)}".removeprefix("."))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)


class Config(Section):
    """A whole run."""

    preset: Annotated[str, OPERATIONAL]
    """Name of the preset that the settings started from."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of everything that is drawn: rows, plans, initial weights, resamples. A trial's own seed
    is added to 1000 times this one."""
    cache: Annotated[str, OPERATIONAL] = "~/.cache/qsit_ray"
    """Folder of the demo's pre-trained base models; outside the run, so that runs share them."""
    data: Annotated[DemoData | LlavaData | PoolsData | RehearsalData, Field(discriminator="source")]
    """Source of the rows, by its `source`: demo, llava, pools or rehearsal. All but `pools`
    have the paper's three pools: D1 scoring, D2 interpreting, D3 general."""
    tasks: Annotated[tuple[str, str], Field(strict=False)] = ("scoring", "interpreting")
    """The two pools whose validation losses are balanced, the first pool and another: λ is the loss
    of the first over that of the second."""
    prompts: Prompts = Prompts()
    """What proxies and primary are asked; the paper's by default."""
    models: Models
    """Base checkpoints."""
    pretraining: Pretraining | None = None
    """Length of the demo models' pre-training. Null: other models are used, which need none."""
    loss: LossWeighting = "row_mean"
    """What counts alike in the gradient of proxies and primary: answer tokens, rows, or the
    micro-batches of a step. `row_mean`: the released trainer takes the mean over a micro-batch,
    which is one row there, so a scoring answer of nine tokens counts as much as a long one. With
    `micro_batch_mean` results depend on the bounds of micro-batches and the number of workers."""
    levels: Levels = Levels()
    """The target at the level word of scoring rows, in proxies and primary."""
    search: Search
    """The proxy search, and the final proxies at its result."""
    mix: Mix | None = None
    """A given mix to train at: rows of each pool as multiples of the first pool's. Final proxies
    are then trained at it for λ, unless there is no `train.controller`. Null: it is searched."""
    train: Train
    """The primary's training."""
    evaluate: Evaluate = Evaluate()
    """Evaluation."""
    cluster: Cluster = Cluster()
    """Patience with a cluster."""

    @model_validator(mode="after")
    def _no_passwords(self) -> Config:
        for key, text in _texts(self.model_dump(mode="json")):
            if has_user(text):
                raise ValueError(f"{key}: {REASON}")
        return self

    @model_validator(mode="after")
    def _named_pools(self) -> Config:
        first, *others = self.pools
        if self.tasks[0] != first or self.tasks[1] not in others:
            raise ValueError(
                f"tasks: {list(self.tasks)}; expected the first pool, {first}, and another, of "
                f"{', '.join(others)}"
            )
        if self.mix is not None and set(self.mix) != set(self.pools):
            raise ValueError(f"mix: expected a number for each of {', '.join(self.pools)}")
        if self.mix is not None and not any(self.mix.values()):
            raise ValueError("mix: no rows in any pool")
        if isinstance(self.data, PoolsData):
            if self.prompts != Prompts():
                raise ValueError("prompts: data.source pools has no scores and no closed questions")
            if self.search.rehearsal is not None:
                raise ValueError("search.rehearsal: data.source pools has nothing to rehearse")
            if self.levels.need_shares:
                raise ValueError("levels: data.source pools has no level words to train")
        return self

    @model_validator(mode="after")
    def _searched_axes(self) -> Config:
        axes = [axis.name for axis in self.axes]
        if unknown := [name for name in self.search.spaces if name not in axes]:
            raise ValueError(
                f"search.{unknown[0]}: of pools {', '.join(self.pools)} the axes are "
                f"{', '.join(axes)}"
            )
        for name in axes if self.mix is None else ():
            if name not in self.search.spaces:
                raise ValueError(f"search.axes: {name} is missing")
        for name, space in self.search.spaces.items():
            if space.objective not in self.objectives:
                raise ValueError(
                    f"search.{name}.objective: {space.objective!r}; expected "
                    f"{', '.join(self.objectives)}"
                )
        return self

    @model_validator(mode="after")
    def _gathered_together(self) -> Config:
        if self.models.remember_features and self.train.zero_stage == 3:
            # Ranks would gather the tower's weights for different tiles, and wait for each other.
            raise ValueError("models.remember_features does not work with train.zero_stage 3")
        return self

    @model_validator(mode="after")
    def _pairs(self) -> Config:
        for name, most in (("search", self.search.micro_batch), ("train", self.train.micro_batch)):
            if self.levels.ranking_weight and most == 1:
                raise ValueError(
                    f"levels.ranking_weight: pairs are of one micro-batch; {name}.micro_batch 1 "
                    "leaves none"
                )
        return self

    @model_validator(mode="after")
    def _one_number_of_ranks(self) -> Config:
        if self.micro_batches_count and self.train.min_workers is not None:
            raise ValueError(
                "train.min_workers: results depend on the number of workers with loss "
                "micro_batch_mean or levels.ranking_weight, so it can't change"
            )
        return self

    @model_validator(mode="after")
    def _demo_models(self) -> Config:
        if self.pretraining is None and DEMO_MODELS & {self.models.proxy, self.models.primary}:
            raise ValueError("pretraining: the demo's models need it")
        return self

    def loss_inputs(self, training: Search | Train, workers: int = 1) -> dict[str, object]:
        """What a proxy's or the primary's gradient depends on besides its rows: their division into
        micro-batches only where each of these counts alike."""
        inputs: dict[str, object] = {"loss": self.loss}
        if self.levels.need_shares:
            inputs["levels"] = self.levels.model_dump()
        if not self.micro_batches_count:
            return inputs
        bounds = training.model_dump(include={"micro_batch", "micro_tokens"})
        return {**inputs, "workers": workers, **bounds}

    @property
    def profile(self) -> Profile | None:
        """What images are scored with, where they are."""
        return self.prompts.profile if self.has_benchmarks else None

    @property
    def opinions(self) -> Profile | None:
        """What finds the level words of scoring rows, where their training needs that."""
        return self.prompts.profile if self.levels.need_shares else None

    @property
    def micro_batches_count(self) -> bool:
        """Whether results depend on which rows are in one micro-batch: by the loss's weighting, or
        by pairs, which are of one."""
        return self.loss == "micro_batch_mean" or self.levels.ranking_weight > 0

    @property
    def pools(self) -> tuple[str, ...]:
        """The names of the pools, D1 first."""
        return tuple(self.data.pools) if isinstance(self.data, PoolsData) else DOMAINS

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The searched ratios, in the order of their searches."""
        return axes_of(self.pools)

    @property
    def searches(self) -> tuple[Axis, ...]:
        """The ratios that this run searches: none where the mix is given."""
        return self.axes if self.mix is None else ()

    @property
    def has_benchmarks(self) -> bool:
        """Whether there are images with scores and questions with answers beside the losses."""
        return not isinstance(self.data, PoolsData)

    @property
    def objectives(self) -> tuple[str, ...]:
        """The scores that a search may maximise."""
        of_benchmarks = ("interpreting", "both") if self.has_benchmarks else ()
        return (*of_benchmarks, *(LOSS + task for task in self.tasks), "losses")

    @property
    def has_proxies(self) -> bool:
        """False for a given mix without a controller: it needs no λ."""
        return self.mix is None or self.train.controller is not None

    @property
    def expected_sizes(self) -> dict[str, int] | None:
        """Training rows of each domain before the catalog is built; None when not known."""
        data = self.data
        if isinstance(data, DemoData | RehearsalData):
            return data.model_dump(include=set(DOMAINS))
        if isinstance(data, PoolsData) or data.expected_rows is None:
            return None
        sizes = data.expected_rows.model_dump()
        sizes["scoring"] -= round(data.validation_share * sizes["scoring"])
        return sizes

    def axis(self, name: str) -> Axis:
        """The axis of this name."""
        return next(axis for axis in self.axes if axis.name == name)

    def space(self, axis: str) -> Space:
        """The settings of an axis by its name."""
        return self.search.spaces[axis]
