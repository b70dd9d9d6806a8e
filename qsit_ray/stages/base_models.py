"""torch: the base-model stages: the demo's pre-training, and features shared by every stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor, float32, from_numpy
from transformers import PretrainedConfig

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import DEMO_MODELS, Config, Pretraining
from qsit_ray.data.catalog import open_catalog
from qsit_ray.errors import InputError
from qsit_ray.models import hub
from qsit_ray.models.architectures import RELEASED, TEXT_MODELS, architecture, has_vision
from qsit_ray.models.base import (
    Base,
    Role,
    base_checkpoint,
    cache_folder,
    identity,
    pretraining_inputs,
    recorded,
    used,
)
from qsit_ray.models.weights import check_values, check_weights, read_config
from qsit_ray.prompts import PAPER, Profile, check_alone, level_tokens
from qsit_ray.terminal import Terminal


def check(run: RunFolder, config: Config, bases: Mapping[str, Base], terminal: Terminal) -> None:
    """Fetch and check base models by role, other than those that the run has recorded.

    Raises InputError naming the setting, and the folder or the model that a run could not start
    from, or that reads text alone where images are judged.
    """
    before = recorded(run)
    for role, base in bases.items():
        if before.get(role) == base:
            continue
        try:
            if hub.is_on_hub(base.name):
                terminal.say(f"Fetch {base.name} where the Hub's cache lacks it ...")
                hub.fetch(base.name)
            terminal.say(f"Check {base.name} ...")
            check_checkpoint(base.name, config.profile)
            if not has_vision(read_config(hub.folder_of(base.name))):
                _check_text_alone(base.name, config)
        except InputError as error:
            raise InputError(f"models.{role}: {error}") from None


def _check_text_alone(name: str, config: Config) -> None:
    """Raises InputError where a run needs more of a model than that it reads text."""
    if config.has_benchmarks:
        raise InputError(f"{name}: it reads text alone, and images are to be judged")
    if config.models.remember_features:
        raise InputError(f"{name}: it reads text alone; set models.remember_features to false")


def check_checkpoint(name: str, profile: Profile | None = PAPER) -> None:
    """Check a base model: names, shapes and types of its weights, then their values, read once.

    Raises InputError naming its folder when its configuration is not LLaVA-OneVision's or a
    language model's, weights are missing, wrong, not finite or too many, or its processor can't be
    loaded or does not fit, or can't tell the level words of the `profile` apart.
    """
    from qsit_ray.models.load import check_vocabulary, load_processor

    folder = hub.folder_of(name)
    config = read_config(folder)
    check_weights(folder, config)
    check_vocabulary(load_processor(folder, config), str(folder), profile)
    check_values(folder)


def prepare(run: RunFolder, config: Config, terminal: Terminal) -> None:
    """Pre-train the demo's base models into the cache, where the run uses them and they are not
    there yet. Raises InputError naming a package of the demo's that is missing, or a model whose
    tokenizer can't tell the run's own level words apart."""
    if config.pretraining is not None and DEMO_MODELS & {
        config.models.proxy,
        config.models.primary,
    }:
        known = pretraining_inputs(config)
        _pretrain(run, config.pretraining, known, cache_folder(config), terminal)
    if config.profile not in (None, PAPER):
        for which in used(config):
            _check_words(which, config)


def _check_words(role: Role, config: Config) -> None:
    """Here and not with the rest of a base model: a run's words may change, its models need not."""
    from qsit_ray.models.load import load_processor

    name = base_checkpoint(config, role)
    tokenizer = load_processor(name).tokenizer
    try:
        level_tokens(tokenizer, config.prompts.profile)
        if config.levels.need_shares:
            check_alone(tokenizer, config.prompts.profile)
    except InputError as error:
        raise InputError(f"models.{role}: {name}: {error}") from None


def _pretrain(
    run: RunFolder, length: Pretraining, known: object, folder: Path, terminal: Terminal
) -> None:
    inputs = {"pretraining": known}
    there = all((folder / name.removeprefix("demo/")).is_dir() for name in DEMO_MODELS)
    if there and run.is_complete("pretrain", inputs):
        return
    if not there:
        from qsit_ray.demo import photographs

        photographs.check_installed()
    with run.stage("pretrain", inputs), terminal.bar("Pre-train the base models") as bar:
        if there:
            return
        from qsit_ray.demo import pretrain

        pretrain.pretrain(folder, length, lambda stage, done, total: bar.update(done, total, stage))


def share_features(run: RunFolder, config: Config, terminal: Terminal) -> None:
    """Compute the features of all the catalog's images for the later stages, where a frozen tower's
    features are remembered."""
    if not config.models.remember_features:
        return
    names = {name: base_checkpoint(config, name) for name in used(config)}
    inputs = {
        "towers": {name: identity(run, base, terminal.say) for name, base in names.items()},
        "catalog": artifacts.file_sha256(run.catalog / "manifest.json"),
    }
    if run.is_complete("features", inputs):
        return
    with run.stage("features", inputs), terminal.bar("Features of the images") as bar:
        from qsit_ray.data.encode import Encoder
        from qsit_ray.models import load
        from qsit_ray.models.features import write_features
        from qsit_ray.models.trainable import freeze

        images = open_catalog(run.catalog).all_images()
        for folder in dict.fromkeys(names.values()):
            # As the trials load it: in another type the tower would count as another.
            checkpoint = load.load(folder, dtype=float32)
            freeze(checkpoint.model, vision=True)
            encoder = Encoder(checkpoint.processor, run.catalog, config.models.max_length)

            def tiles(encoder: Encoder = encoder) -> Iterator[Tensor]:
                yield from from_numpy(encoder.blank().pixel_values)
                for done, (image, alone) in enumerate(images, start=1):
                    yield from from_numpy(encoder.picture(image, alone).pixel_values)
                    bar.update(done, len(images))

            write_features(checkpoint.model, tiles(), run.features)


def model_config(name: str) -> PretrainedConfig:
    """The configuration of a base model, without its weights and without access to the Hub.

    `name`: one of the released models, one of the demo's, one in the Hub's cache, or a folder with
    a config.json. Raises InputError for any other.
    """
    released = {RELEASED.format(size): size for size in TEXT_MODELS}
    repo, _ = hub.split(name)
    if repo in released:
        return architecture(released[repo])
    if name in DEMO_MODELS:
        from qsit_ray.demo import models
        from qsit_ray.demo.pretrain import make_tokenizer

        decoder = models.DECODERS[name.removeprefix("demo/")]
        return models.make_model(decoder, make_tokenizer([], seed=0), seed=0).config
    folder = hub.cached(name) if hub.is_on_hub(name) else Path(name)
    if folder is None or not (folder / "config.json").is_file():
        known = ", ".join([*released, *sorted(DEMO_MODELS)])
        raise InputError(f"{name}: expected a folder with a config.json, or one of {known}")
    return read_config(folder)
