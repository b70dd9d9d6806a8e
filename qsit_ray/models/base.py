"""pure: the folders and the identity of the base checkpoints."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from qsit_ray import __version__, artifacts
from qsit_ray.config.config import DEMO_MODELS, Config


def base_checkpoint(config: Config, which: Literal["proxy", "primary"]) -> str:
    """Folder or Hugging Face name of the checkpoint that trials, or the primary, start from."""
    name = config.models.proxy if which == "proxy" else config.models.primary
    return str(cache_folder(config) / name.removeprefix("demo/")) if name in DEMO_MODELS else name


@cache
def identity(name: str) -> dict[str, str]:
    """The hashes of a folder's weights, tokenizer and configurations, or the Hugging Face name."""
    files = sorted(p for kind in ("*.safetensors", "*.json") for p in Path(name).glob(kind))
    return {path.name: artifacts.file_sha256(path) for path in files} or {"name": name}


def pretraining_inputs(config: Config) -> dict[str, object]:
    lengths = config.pretraining.model_dump(mode="json") if config.pretraining else {}
    return {"version": __version__, **lengths}


def cache_folder(config: Config) -> Path:
    """Each length of pre-training has its own folder in the cache."""
    key = artifacts.digest(pretraining_inputs(config))[:12]
    return Path(config.cache).expanduser() / f"demo-{key}"
