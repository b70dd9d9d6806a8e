"""torch: where the base checkpoints are, and how the demo's come into the cache."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

from torch import Tensor, from_numpy

from qsit_ray import __version__, artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import DEMO_MODELS, Config
from qsit_ray.data.catalog import open_catalog
from qsit_ray.terminal import Terminal


def base_checkpoint(config: Config, which: Literal["proxy", "primary"]) -> str:
    """Folder or Hugging Face name of the checkpoint that trials, or the primary, start from."""
    name = config.models.proxy if which == "proxy" else config.models.primary
    return str(_cache(config) / name.removeprefix("demo/")) if name in DEMO_MODELS else name


@cache
def identity(name: str) -> dict[str, str]:
    """What a checkpoint is: hashes of a folder's weights, tokenizer and configurations, or the
    Hugging Face name itself."""
    files = sorted(p for kind in ("*.safetensors", "*.json") for p in Path(name).glob(kind))
    return {path.name: artifacts.file_sha256(path) for path in files} or {"name": name}


def prepare(run: RunFolder, config: Config, terminal: Terminal) -> None:
    """Pre-train the demo's base models into the cache, unless they are there or not asked for."""
    if config.pretraining is None or not DEMO_MODELS & {config.models.proxy, config.models.primary}:
        return
    inputs = {"pretraining": _inputs(config)}
    folder = _cache(config)
    wanted = [folder / name.removeprefix("demo/") for name in sorted(DEMO_MODELS)]
    if run.stands("pretrain", inputs) and all(path.is_dir() for path in wanted):
        return
    with run.stage("pretrain", inputs), terminal.bar("Pre-train the base models") as bar:
        if all(path.is_dir() for path in wanted):
            return
        from qsit_ray.models import pretrain

        settings = pretrain.Settings(**config.pretraining.model_dump())
        pretrain.pretrain(
            folder, settings, lambda stage, done, total: bar.update(done, total, stage)
        )


def share_features(run: RunFolder, config: Config, terminal: Terminal) -> None:
    """Compute a frozen tower's features of all the catalog's images, for every later stage.

    Nothing to do where the features are not remembered.
    """
    if not config.models.remember_features:
        return
    names = {name: base_checkpoint(config, name) for name in ("proxy", "primary")}
    inputs = {
        "towers": {name: identity(folder) for name, folder in names.items()},
        "catalog": artifacts.file_sha256(run.catalog / "manifest.json"),
    }
    if run.stands("features", inputs):
        return
    with run.stage("features", inputs), terminal.bar("Features of the images") as bar:
        from qsit_ray.data.encode import Encoder
        from qsit_ray.models import load
        from qsit_ray.models.features import write_features
        from qsit_ray.models.trainable import freeze

        images = [None, *open_catalog(run.catalog).all_images()]
        for folder in dict.fromkeys(names.values()):
            checkpoint = load.load(folder)
            freeze(checkpoint.model, vision=True)
            encoder = Encoder(checkpoint.processor, run.catalog, config.models.max_length)

            def tiles(encoder: Encoder = encoder) -> Iterator[Tensor]:
                for done, image in enumerate(images, start=1):
                    picture = encoder.blank() if image is None else encoder.picture(image)
                    yield from from_numpy(picture.pixel_values)
                    bar.update(done, len(images))

            write_features(checkpoint.model, tiles(), run.features)


def _inputs(config: Config) -> dict[str, object]:
    lengths = config.pretraining.model_dump(mode="json") if config.pretraining else {}
    return {"version": __version__, **lengths}


def _cache(config: Config) -> Path:
    """Base models of other lengths of pre-training lie beside each other."""
    key = artifacts.digest(_inputs(config))[:12]
    return Path(config.cache).expanduser() / f"demo-{key}"
