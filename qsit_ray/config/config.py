"""pure: the typed, frozen, strict configuration of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from qsit_ray.addresses import REASON, has_user, masked
from qsit_ray.config.cluster import Cluster
from qsit_ray.config.data import DemoData, LlavaData, RehearsalData
from qsit_ray.config.search import Search, Space
from qsit_ray.config.section import OPERATIONAL, Count, NotNegative, Section
from qsit_ray.config.train import Train
from qsit_ray.mixture import DOMAINS, Axis

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


class Mix(Section):
    """A given mix: rows of each domain as multiples of D1's training rows."""

    scoring: NotNegative
    """D1."""
    interpreting: NotNegative
    """D2."""
    general: NotNegative
    """D3."""

    @model_validator(mode="after")
    def _some(self) -> Mix:
        if not self.scoring + self.interpreting + self.general:
            raise ValueError("no rows in any domain")
        return self


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
    data: Annotated[DemoData | LlavaData | RehearsalData, Field(discriminator="source")]
    """Source of the rows, by its `source`: demo, llava or rehearsal."""
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
    """A given mix to train at. Final proxies are then trained at it for λ, unless there is no
    `train.controller`. Null: the mix is searched."""
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
    def micro_batches_count(self) -> bool:
        """Whether results depend on which rows are in one micro-batch: by the loss's weighting, or
        by pairs, which are of one."""
        return self.loss == "micro_batch_mean" or self.levels.ranking_weight > 0

    @property
    def has_proxies(self) -> bool:
        """False for a given mix without a controller: it needs no λ."""
        return self.mix is None or self.train.controller is not None

    @property
    def expected_sizes(self) -> dict[str, int] | None:
        """Training rows of each domain before the catalog is built; None when not known."""
        data = self.data
        if not isinstance(data, LlavaData):
            return data.model_dump(include=set(DOMAINS))
        if data.expected_rows is None:
            return None
        sizes = data.expected_rows.model_dump()
        sizes["scoring"] -= round(data.validation_share * sizes["scoring"])
        return sizes

    def space(self, axis: Axis) -> Space:
        first = axis == "interpreting_general"
        return self.search.interpreting_general if first else self.search.interpreting_scoring
