"""pure: a trained run as a folder for others: the model, its processor and its card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import DEMO_MODELS, Config
from qsit_ray.config.data import LlavaData
from qsit_ray.errors import InputError
from qsit_ray.mixture import DOMAINS

# Everything that loading takes. Weights come as safetensors, whole or in parts.
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


def export(run: RunFolder, config: Config, out: Path, licence: str | None = None) -> list[str]:
    """Copy the trained primary to `out`, with README.md; returns the names of its files.

    Raises InputError when `out` exists, or the run has no whole model yet.
    """
    if out.exists():
        raise InputError(f"{out}: exists already; use another --out")
    if not run.model.is_dir():
        raise InputError(f"{run.model}: missing; the run has not been trained to its end")
    for pattern in NEEDED:
        if not list(run.model.glob(pattern)):
            raise InputError(f"{run.model / pattern}: missing; the model is not whole")
    text = card(
        config,
        artifacts.read_json(run.mixture),
        artifacts.read_jsonl(run.epochs),
        _primary(run.evaluation / "iqa.json"),
        _primary(run.evaluation / "llvisionqa.json"),
        licence,
    )
    with artifacts.atomic(out) as temporary:
        temporary.mkdir()
        for path in sorted(run.model.iterdir()):
            # Nothing that has to be unpickled, and nothing that is no part of a model.
            if path.suffix in KINDS:
                shutil.copyfile(path, temporary / path.name)
        (temporary / "README.md").write_text(text, encoding="utf-8")
    return sorted(path.name for path in out.iterdir())


def _primary(path: Path) -> dict[str, Any] | None:
    return artifacts.read_json(path).get("primary") if path.exists() else None


USE = """\
```python
from transformers import AutoProcessor, LlavaOnevisionForConditionalGeneration

model = LlavaOnevisionForConditionalGeneration.from_pretrained("FOLDER")
processor = AutoProcessor.from_pretrained("FOLDER")  # needs torchvision
```

Where torchvision is missing, `qsit_ray.models.load.load("FOLDER")` gives the same model and a
processor for images."""


def card(
    config: Config,
    mixture: Mapping[str, Any],
    epochs: Sequence[Mapping[str, Any]],
    iqa: Mapping[str, Any] | None,
    questions: Mapping[str, Any] | None,
    licence: str | None = None,
) -> str:
    """README.md of an exported primary: YAML front matter and a page in Markdown.

    `mixture`, `epochs`: mixture.json and the lines of epochs.jsonl. `iqa`, `questions`: the
    primary's own part of evaluation/iqa.json ({dataset: metrics}) and of llvisionqa.json; None
    where it was not evaluated. `licence`: an identifier of the Hub's list; None is "other", to be
    settled by who publishes.
    """
    front = yaml.safe_dump(_front_matter(config, iqa, questions, licence), sort_keys=False)
    moved = "it is adjusted after each epoch" if config.train.controller else "it stays as it is"
    parts = [
        f"---\n{front}---",
        f"# {config.models.primary} trained to score and to interpret image quality",
        "Trained by `qsit_ray` after the method of *Teaching LMMs for Image Quality Scoring and "
        f"Interpreting*. The mix of the data was {'given' if config.mix else 'found by a proxy'}; "
        f"{moved}.",
        "## Data",
        _data(config, mixture, epochs),
        "## Training",
        _training(config, mixture, epochs),
        "## Evaluation",
        _evaluation(iqa, questions),
        "## Licences",
        _licences(config, licence),
        "## Use",
        USE,
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(
    config: Config,
    iqa: Mapping[str, Any] | None,
    questions: Mapping[str, Any] | None,
    licence: str | None,
) -> dict[str, Any]:
    found = [
        _result("image quality scoring", dataset, {n: m[n] for n in ("srcc", "plcc")})
        for dataset, m in (iqa or {}).items()
    ]
    if questions is not None:
        accuracy = {"accuracy": questions["accuracy"]}
        found.append(_result("image quality questions", "llvisionqa", accuracy))
    name = config.models.primary
    front: dict[str, Any] = {"license": licence or "other"}
    if licence is None:
        front["license_name"] = "not-settled"
    front |= {
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["image-quality-assessment", "qsit_ray"],
    }
    if name not in DEMO_MODELS and not Path(name).is_dir():  # else nobody could look it up
        front["base_model"] = name
    if found:
        front["model-index"] = [{"name": f"{name.split('/')[-1]}-qsit", "results": found}]
    return front


def _result(task: str, dataset: str, metrics: Mapping[str, float | None]) -> dict[str, Any]:
    return {
        "task": {"type": "image-text-to-text", "name": task},
        "dataset": {"name": dataset, "type": dataset},
        "metrics": [{"type": n, "value": v} for n, v in metrics.items() if v is not None],
    }


def _data(config: Config, mixture: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> str:
    ratio = " : ".join(f"{mixture[domain]:.3g}" for domain in DOMAINS)
    lines = [
        f"D1 scoring : D2 interpreting : D3 general = {ratio}.",
        "",
        "| epoch | " + " | ".join(DOMAINS) + " | rows trained | SHA-256 of the plan |",
        "|---|---|---|---|---|---|",
    ]
    for line in epochs:
        sizes = " | ".join(f"{line['sizes'][domain]:,}" for domain in DOMAINS)
        lines.append(
            f"| {line['epoch']} | {sizes} | {line['rows_trained']:,} | `{line['plan_sha256']}` |"
        )
    return "\n".join([*lines, "", _sources(config)])


def _sources(config: Config) -> str:
    if not isinstance(config.data, LlavaData):
        return "The rows were made of photographs with known distortions; no person judged them."
    files = {
        domain: ", ".join(f"`{f}`" for f in getattr(config.data, domain)) for domain in DOMAINS
    }
    return "Training files: " + "; ".join(f"{d}: {names}" for d, names in files.items()) + "."


def _training(
    config: Config, mixture: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]
) -> str:
    train = config.train
    reference = mixture["reference_loss_ratio"]
    rows = {
        "base model": f"`{config.models.primary}`",
        "trained": _trained(config),
        "epochs, global batch": f"{train.epochs}, {train.training.batch_size} rows",
        "peak learning rate": _rates(config),
        "precision": train.precision,
        "tokens in the loss (mask)": f"`{mixture['loss_mask']}`",
        "reference loss ratio λ": "none" if reference is None else f"{reference:.4f}",
        "seed": str(config.seed),
    }
    if epochs:
        last = epochs[-1]
        rows["L_S, L_I, L_S/L_I at the end"] = ", ".join(
            f"{last[k]:.4f}" for k in ("loss_scoring", "loss_interpreting", "loss_ratio")
        )
    return _table(("setting", "value"), list(rows.items()))


def _rates(config: Config) -> str:
    own = {part: rate for part, rate in config.train.rates.model_dump().items() if rate is not None}
    return ", ".join(
        [f"{config.train.training.learning_rate:g}", *(f"{p} {rate:g}" for p, rate in own.items())]
    )


def _trained(config: Config) -> str:
    train = config.train
    frozen = {*train.frozen, *(("vision",) if config.models.freeze_vision else ())}
    parts = [part for part in ("vision", "projector", "language") if part not in frozen]
    lora = train.lora
    adapted = f" (low-rank adapters, rank {lora.rank}, merged)" if lora else ""
    return ", ".join(parts) + adapted


def _evaluation(iqa: Mapping[str, Any] | None, questions: Mapping[str, Any] | None) -> str:
    rows = [
        (dataset, f"SRCC {_figure(m['srcc'])}, PLCC {_figure(m['plcc'])}", f"{m['rows']:,} images")
        for dataset, m in (iqa or {}).items()
    ]
    if questions is not None:
        guess = questions["random_guess"]
        chance = "" if guess is None else f" (random guess {guess:.3f})"
        rows.append(
            (
                "llvisionqa",
                f"accuracy {_figure(questions['accuracy'])}{chance}",
                f"{questions['rows']:,} questions",
            )
        )
    if not rows:
        return "Not evaluated yet."
    return _table(("benchmark", "result", "size"), rows)


def _licences(config: Config, licence: str | None) -> str:
    mine = f"This model: {licence}." if licence else "This model: not settled by who exported it."
    return (
        f"{mine} The licence of the base model `{config.models.primary}` and those of the training "
        "data above apply as well."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
