"""pure: the typed, frozen, strict configuration; YAML in, resolved YAML out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from qsit_ray.config.data import DemoData, LlavaData, RehearsalData
from qsit_ray.config.search import Search, Space
from qsit_ray.config.section import Count, NotNegative, Section
from qsit_ray.config.train import Train
from qsit_ray.mixture import DOMAINS

DEMO_MODELS = {"demo/proxy", "demo/primary"}


class Models(Section):
    """Base checkpoints: `demo/proxy` and `demo/primary` are made once and cached; else a Hugging
    Face name or a local folder. `remember_features` keeps a frozen tower's features in memory."""

    proxy: str
    primary: str
    freeze_vision: bool = True
    remember_features: bool = False
    max_length: Count = 2048

    @model_validator(mode="after")
    def _frozen(self) -> Models:
        if self.remember_features and not self.freeze_vision:
            raise ValueError("remember_features needs freeze_vision: a trained tower moves")
        return self


class Pretraining(Section):
    """Length of the demo models' pre-training, in optimiser steps, and its crops."""

    tower_steps: Count
    alignment_steps: Count
    crops: Count
    alignment_crops: Count


class Mix(Section):
    """A mix given instead of searched: rows of each domain as multiples of D1's training rows."""

    scoring: NotNegative
    interpreting: NotNegative
    general: NotNegative

    @model_validator(mode="after")
    def _some(self) -> Mix:
        if not self.scoring + self.interpreting + self.general:
            raise ValueError("no rows in any domain")
        return self


class Evaluate(Section):
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    batch_size: Count = 64


class Config(Section):
    """A whole run. `preset` names where it came from; `cache` holds pre-trained base models.

    With `mix` nothing is searched: the final proxies are trained at it, for λ.
    """

    preset: str
    seed: Annotated[int, Field(ge=0)] = 0
    cache: str = "~/.cache/qsit_ray"
    data: Annotated[DemoData | LlavaData | RehearsalData, Field(discriminator="source")]
    models: Models
    pretraining: Pretraining | None = None
    search: Search
    mix: Mix | None = None
    train: Train
    evaluate: Evaluate = Evaluate()

    @model_validator(mode="after")
    def _gathered_together(self) -> Config:
        if self.models.remember_features and self.train.zero_stage == 3:
            # Ranks would gather the tower's weights for different tiles, and wait for ever.
            raise ValueError("models.remember_features can't go with train.zero_stage 3")
        return self

    @model_validator(mode="after")
    def _demo_models(self) -> Config:
        if self.pretraining is None and DEMO_MODELS & {self.models.proxy, self.models.primary}:
            raise ValueError("models: the demo's are made by pretraining, which is missing")
        return self

    @property
    def has_proxies(self) -> bool:
        """Whether final proxies are trained; a fixed mix without a controller needs no λ."""
        return self.mix is None or self.train.controller is not None

    @property
    def expected_sizes(self) -> dict[str, int] | None:
        """Training rows of each domain before the catalog is there; None when nothing says."""
        data = self.data
        if not isinstance(data, LlavaData):
            return {domain: getattr(data, domain) for domain in DOMAINS}
        if data.expected_rows is None:
            return None
        sizes = data.expected_rows.model_dump()
        sizes["scoring"] -= round(data.validation_share * sizes["scoring"])
        return sizes

    def space(self, axis: str) -> Space:
        return getattr(self.search, axis)
