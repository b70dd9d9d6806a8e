"""pure: export of a trained primary: a folder with the model, its processor and its card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import DEMO_MODELS, Config
from qsit_ray.data.encode import IMAGE
from qsit_ray.errors import InputError
from qsit_ray.models.hub import is_on_hub, split
from qsit_ray.run_files import EpochLine, FoundMix, read_epochs

# The files that loading needs. Weights are safetensors in one or more files.
NEEDED = (
    "config.json",
    "generation_config.json",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "*.safetensors",
)
KINDS = {".json", ".jinja", ".txt", ".safetensors"}
SHOWN_AS = {"srcc": "SRCC", "plcc": "PLCC", "accuracy": "accuracy"}
HERE = "."
"""The model's address in the programs of a card that is read in its folder."""
FrontMatter = dict[str, Any]
"""YAML of a model card's front matter, as the Hub defines it."""


@dataclass(frozen=True)
class Result:
    """The primary's result on one benchmark; a metric is None where undefined."""

    task: str
    dataset: str
    metrics: dict[str, float | None]
    size: str
    random_guess: float | None = None

    @property
    def figures(self) -> list[str]:
        return [
            f"{SHOWN_AS[name]} {'undefined' if value is None else f'{value:.3f}'}"
            for name, value in self.metrics.items()
        ]


def read_results(evaluation: Path) -> list[Result]:
    """The primary's part of iqa.json and llvisionqa.json; none where it was not evaluated."""
    scored, answered = (
        artifacts.read_json(file).get("primary") if file.exists() else None
        for file in (evaluation / "iqa.json", evaluation / "llvisionqa.json")
    )
    results = []
    for dataset, found in (scored or {}).items():
        metrics = {"srcc": found["srcc"], "plcc": found["plcc"]}
        size = f"{found['rows']:,} images"
        results.append(Result("image quality scoring", dataset, metrics, size))
    if answered is not None:
        metrics, size = {"accuracy": answered["accuracy"]}, f"{answered['rows']:,} questions"
        guess = answered["random_guess"]
        results.append(Result("image quality questions", "llvisionqa", metrics, size, guess))
    return results


def export(
    run: RunFolder,
    config: Config,
    out: Path,
    licence: str | None = None,
    finish: Callable[[Path], None] = lambda folder: None,
    address: str = HERE,
) -> list[str]:
    """Copy the trained primary to `out`, with README.md; return the names of its files. `finish`
    may add to the folder before it becomes `out`. `address`: the model's in the card's programs.

    Raises InputError when `out` exists, or the run has no complete model.
    """
    if out.exists():
        raise InputError(f"{out}: exists already; use another --out")
    if not run.model.is_dir():
        raise InputError(f"{run.model}: missing; the run has not been trained to its end")
    if not config.has_benchmarks:
        raise InputError(
            f"{run.model}: its card would be of image quality; the folder itself is a Hugging Face "
            "model"
        )
    for pattern in NEEDED:
        if not list(run.model.glob(pattern)):
            raise InputError(f"{run.model / pattern}: missing; the model is not complete")
    mixture, epochs = FoundMix.read(run.mixture), read_epochs(run.epochs)
    text = card(config, mixture, epochs, read_results(run.evaluation), licence, address)
    with artifacts.atomic(out) as temporary:
        temporary.mkdir()
        for path in sorted(run.model.iterdir()):
            # Nothing that must be unpickled, and only files of a model.
            if path.suffix in KINDS:
                shutil.copyfile(path, temporary / path.name)
        (temporary / "README.md").write_text(text, encoding="utf-8")
        finish(temporary)
    return sorted(path.name for path in out.iterdir())


def card(
    config: Config,
    mixture: FoundMix,
    epochs: Sequence[EpochLine],
    results: Sequence[Result],
    licence: str | None = None,
    address: str = HERE,
) -> str:
    """README.md of an exported primary: YAML front matter and a page in Markdown (card.md).

    `licence`: an identifier of the Hub's list; None is written as "other". `address`: a folder or
    a name on the Hub, from which the page's programs load the model.
    """
    train = config.train
    frozen = {*train.frozen, *(("vision",) if config.models.freeze_vision else ())}
    own = [f"{part} {rate:g}" for part, rate in train.rates if rate is not None]
    question, quoted = config.prompts.question, partial(json.dumps, ensure_ascii=False)
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {
        "count": "{:,}".format,
        "g3": "{:.3g}".format,
        "files": lambda names: ", ".join(f"`{name}`" for name in names),
    }
    template = (files("qsit_ray.models") / "card.md").read_text("utf-8")
    return environment.from_string(template).render(
        front=yaml.safe_dump(_front_matter(config, results, licence), sort_keys=False),
        config=config,
        mixture=mixture,
        epochs=epochs,
        results=results,
        licence=licence,
        address=json.dumps(address),
        is_here=address == HERE,
        question=quoted(question.replace(IMAGE, "")),
        image_first=question.startswith(IMAGE),
        stem=quoted(config.prompts.stem),
        words=quoted(config.prompts.levels),
        trained=[part for part in ("vision", "projector", "language") if part not in frozen],
        rates=[f"{train.training.learning_rate:g}", *own],
    )


def _front_matter(config: Config, results: Sequence[Result], licence: str | None) -> FrontMatter:
    name = config.models.primary
    front: FrontMatter = {"license": licence or "other"}
    if licence is None:
        front["license_name"] = "not-settled"
    front |= {
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["image-quality-assessment", "qsit_ray"],
    }
    if name not in DEMO_MODELS and is_on_hub(name):  # others can't be looked up
        front["base_model"], _ = split(name)
    found = [
        {
            "task": {"type": "image-text-to-text", "name": result.task},
            "dataset": {"name": result.dataset, "type": result.dataset},
            "metrics": [
                {"type": name, "value": value}
                for name, value in result.metrics.items()
                if value is not None
            ],
        }
        for result in results
    ]
    if found:
        front["model-index"] = [{"name": f"{Path(split(name)[0]).name}-qsit", "results": found}]
    return front
