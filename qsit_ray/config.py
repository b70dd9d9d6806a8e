"""pure: the typed, frozen, strict configuration; YAML in, resolved YAML out."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from qsit_ray.errors import InputError
from qsit_ray.mixture import DOMAINS, Axis
from qsit_ray.section import Count, NotNegative, Positive, Section
from qsit_ray.train.settings import Train, Training

# YAML has lists only; everything else keeps its type strictly.
Ratios = Annotated[tuple[Positive, ...], Field(strict=False, min_length=1)]
Files = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=1000)]
Seeds = Annotated[tuple[Seed, ...], Field(strict=False, min_length=1)]


AnySection = TypeVar("AnySection", bound=BaseModel)
DEMO_MODELS = {"demo/proxy", "demo/primary"}
SOURCES = {"demo", "llava", "rehearsal"}


def distinct(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(values)) < len(values):
        raise ValueError("values repeat")
    return values


class DemoData(Section):
    """Rows that the demo makes of its photographs, by domain and split."""

    source: Literal["demo"] = "demo"
    scoring: Count
    interpreting: Count
    general: Count
    validation_scoring: Count
    validation_interpreting: Count
    validation_images: Count
    validation_questions: Count
    test_images: Count
    test_questions: Count


class Rows(Section):
    """Rows of each domain."""

    scoring: Count
    interpreting: Count
    general: Count


class LlavaData(Section):
    """Training files in LLaVA's shape by domain, and benchmarks, as their owners ship them.

    Image names are relative to the folder `images`. `validation_questions` and `test_questions`
    are LLVisionQA files with answers; `test_images` names tables with columns image and mos.
    `expected_rows` is what the training files hold, so that a run can be planned without them.
    """

    source: Literal["llava"] = "llava"
    images: str
    scoring: Files
    interpreting: Files
    general: Files
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    validation_questions: str
    test_images: dict[str, str] = Field(default_factory=dict)
    test_questions: str | None = None
    expected_rows: Rows | None = None


class RehearsalData(Rows):
    """Nothing but row counts: a catalog of that size without text or image."""

    source: Literal["rehearsal"] = "rehearsal"


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


def parse(values: Any, origin: str) -> Config:
    """A Config from plain values. Raises InputError naming `origin` and the dotted key."""
    return validated(Config, values, origin)


def validated(section: type[AnySection], values: Any, origin: str) -> AnySection:
    """Any section from plain values. Raises InputError naming `origin` and the dotted key."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        # Behind `data` pydantic names the kind of source that it checked against.
        parts = [p for i, p in enumerate(first["loc"]) if i != 1 or p not in SOURCES]
        key = ".".join(str(part) for part in parts)
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "unknown key"
        elif first["type"] != "missing" and key:
            message += f", got {first['input']!r}" if not isinstance(first["input"], dict) else ""
        raise InputError(f"{origin}: {key + ': ' if key else ''}{message}") from None


def override(config: Config, assignments: Iterable[str]) -> Config:
    """`config` with `a.b=value` assignments applied; values are YAML.

    Raises InputError naming the dotted key when it does not exist or its value is impossible.
    """
    values = config.model_dump(mode="json")
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"--set {assignment}: expected key=value")
        *parents, name = key.split(".")
        target = values
        for depth, parent in enumerate(parents, start=1):
            if parent in target and target[parent] is None:
                at = ".".join(parents[:depth])
                raise InputError(f"--set: {at} is null; give all of it, as {at}={{…}}")
            if not isinstance(target.get(parent), dict):
                raise InputError(f"--set: {'.'.join(parents[:depth])}: unknown key")
            target = target[parent]
        try:
            target[name] = _value(text)
        except yaml.YAMLError:
            raise InputError(f"--set {key}: {text!r} is not YAML") from None
    return parse(values, "--set")


def _value(text: str) -> Any:
    """A YAML value; 1e-3 too is a number, which YAML 1.1 takes for a word."""
    value = yaml.safe_load(text)
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value)
    return value


def load(path: Path) -> Config:
    """The configuration of a YAML file. Raises InputError naming the file and the key."""
    return parse(read_yaml(path), str(path))


def dump(config: Config) -> str:
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def read_yaml(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _OneOfEach)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't read it: {error}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


class _OneOfEach(yaml.SafeLoader):
    """YAML itself would take the last of two values with one key, and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value} is there twice,", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def difference(one: Config, other: Config) -> list[str]:
    """Dotted names of the settings in which two configurations differ."""
    return changed(one.model_dump(mode="json"), other.model_dump(mode="json"))


def changed(one: Any, other: Any, prefix: str = "") -> list[str]:
    """Dotted names of what differs between two nested dicts."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = list(one) + [key for key in other if key not in one]
        return [
            name
            for key in keys
            for name in changed(one.get(key), other.get(key), f"{prefix}{key}.")
        ]
    return [] if one == other else [prefix[:-1]]
