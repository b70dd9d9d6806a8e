"""docs/CONFIG.md: every key of the types, as `qsit config show` has them."""

import shutil
from pathlib import Path

import pytest
import yaml

from qsit_ray.config import presets
from qsit_ray.config.files import dump
from qsit_ray.evaluation.studies import settings

PAGE = Path(__file__).parents[3] / "docs" / "CONFIG.md"


def test_the_page_is_what_the_command_writes(tmp_path):
    shutil.copy(PAGE, tmp_path / "page.md")
    settings.write(tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == PAGE.read_text()


def leaves(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict) and name not in ("nodes", "cpu_nodes", "folders", "test_images"):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@pytest.mark.parametrize("preset", ["demo", "paper", "rehearsal"])
def test_every_key_of_a_preset_is_there(preset):
    parts = settings.parts({preset: presets.resolve(preset)})
    known = {key.name for part in parts for key in part.keys}
    sections = {part.title.split("`")[1] for part in parts if "`" in part.title}
    keys = set(leaves(yaml.safe_load(dump(presets.resolve(preset)))))
    assert len(keys) > 80
    assert not keys - known - sections


def test_a_key_tells_its_values_bounds_default_and_presets():
    parts = settings.parts({name: presets.resolve(name) for name in ("demo", "paper")})
    keys = {key.name: key for part in parts for key in part.keys}
    tolerance = keys["train.controller.tolerance"]
    assert (tolerance.values, tolerance.default) == ("number ≥ 0, < 1", "0.05")
    assert keys["train.micro_tokens"].values == "whole number ≥ 1 or null"
    assert keys["train.micro_tokens"].in_presets == {"paper": "16384"}
    assert keys["train.micro_tokens"].operational and not tolerance.operational
    assert keys["train.precision"].values == "`fp32` or `bf16`"
    assert keys["train.epochs"].default is None
    assert all(key.meaning for key in keys.values())
