"""pure: a trained run as a folder for others: the model, its processor and its card."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import Config
from qsit_ray.errors import InputError
from qsit_ray.models.card import card

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
