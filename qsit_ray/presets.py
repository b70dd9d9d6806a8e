"""pure: presets are functions that return a whole configuration; a variant changes two fields."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import yaml

from qsit_ray.config import (
    Config,
    Data,
    Models,
    Pretraining,
    Search,
    Space,
    Train,
    Training,
    load,
)
from qsit_ray.errors import InputError


def space(name: str) -> Space:
    """A file of search_spaces/ by its name."""
    return Space.model_validate(
        yaml.safe_load((files("search_spaces") / f"{name}.yaml").read_text())
    )


def demo() -> Config:
    """All of Algorithm 1 in minutes on two CPU cores: small models on real photographs."""
    return Config(
        preset="demo",
        data=Data(
            scoring=480,
            interpreting=2400,
            general=2400,
            validation_scoring=100,
            validation_interpreting=120,
            validation_images=100,
            validation_questions=240,
            test_images=300,
            test_questions=480,
        ),
        models=Models(
            proxy="demo/proxy",
            primary="demo/primary",
            remember_features=True,
            max_length=512,
        ),
        pretraining=Pretraining(
            tower_steps=800, alignment_steps=200, crops=10_000, alignment_crops=3_000
        ),
        search=Search(
            interpreting_general=space("demo_interpreting_general"),
            interpreting_scoring=space("demo_interpreting_scoring"),
            training=Training(batch_size=16, learning_rate=5e-3),
            max_steps=160,
            evaluate_every=40,
            patience=2,
        ),
        train=Train(
            training=Training(batch_size=32, learning_rate=2e-3),
            epochs=3,
            workers=2,
            micro_batch=16,
            zero_stage=2,
        ),
    )


PRESETS = {"demo": demo}


def resolve(name_or_file: str) -> Config:
    """A preset by its name, or a configuration file by its path."""
    if name_or_file in PRESETS:
        return PRESETS[name_or_file]()
    if Path(name_or_file).suffix in {".yaml", ".yml"}:
        return load(Path(name_or_file))
    raise InputError(
        f"--preset {name_or_file}: unknown; expected one of {', '.join(PRESETS)} or a YAML file"
    )
