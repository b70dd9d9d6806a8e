"""torch: the base-model stages: the demo's pre-training, and features shared by every stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor, from_numpy
from transformers import AutoConfig, PretrainedConfig

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import DEMO_MODELS, Config
from qsit_ray.data.catalog import open_catalog
from qsit_ray.errors import InputError
from qsit_ray.models.architectures import RELEASED, TEXT_MODELS, architecture
from qsit_ray.models.base import base_checkpoint, cache_folder, identity, pretraining_inputs
from qsit_ray.terminal import Terminal


def prepare(run: RunFolder, config: Config, terminal: Terminal) -> None:
    """Pre-train the demo's base models into the cache, where the run uses them and they are not
    there yet."""
    if config.pretraining is None or not DEMO_MODELS & {config.models.proxy, config.models.primary}:
        return
    inputs = {"pretraining": pretraining_inputs(config)}
    folder = cache_folder(config)
    there = all((folder / name.removeprefix("demo/")).is_dir() for name in DEMO_MODELS)
    if there and run.is_complete("pretrain", inputs):
        return
    with run.stage("pretrain", inputs), terminal.bar("Pre-train the base models") as bar:
        if there:
            return
        from qsit_ray.demo import pretrain

        pretrain.pretrain(
            folder, config.pretraining, lambda stage, done, total: bar.update(done, total, stage)
        )


def share_features(run: RunFolder, config: Config, terminal: Terminal) -> None:
    """Compute the features of all the catalog's images for the later stages, where a frozen tower's
    features are remembered."""
    if not config.models.remember_features:
        return
    names = {name: base_checkpoint(config, name) for name in ("proxy", "primary")}
    inputs = {
        "towers": {name: identity(folder) for name, folder in names.items()},
        "catalog": artifacts.file_sha256(run.catalog / "manifest.json"),
    }
    if run.is_complete("features", inputs):
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


def model_config(name: str) -> PretrainedConfig:
    """The configuration of a base model, without its weights and without access to the Hub.

    `name`: one of the released models, one of the demo's, or a folder with a config.json. Raises
    InputError for any other.
    """
    released = {RELEASED.format(size): size for size in TEXT_MODELS}
    if name in released:
        return architecture(released[name])
    if name.startswith("demo/"):
        from qsit_ray.demo import models
        from qsit_ray.demo.pretrain import make_tokenizer

        decoder = models.DECODERS[name.removeprefix("demo/")]
        return models.make_model(decoder, make_tokenizer([], seed=0), seed=0).config
    if not (Path(name) / "config.json").is_file():
        known = ", ".join(released)
        raise InputError(f"{name}: expected a folder with a config.json, or one of {known}")
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{name}: its config.json can't be read: {error}") from None
    if config.model_type != "llava_onevision":
        raise InputError(f"{name}: its model type is {config.model_type}; expected llava_onevision")
    return config
