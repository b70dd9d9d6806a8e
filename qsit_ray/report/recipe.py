"""pure: how to make a run again: its commands, settings, versions, base models and hashes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import files, presets
from qsit_ray.config.changes import changes
from qsit_ray.config.config import Config
from qsit_ray.errors import InputError
from qsit_ray.report.formats import setting
from qsit_ray.run_files import EpochLine


@dataclass(frozen=True)
class Recipe:
    """`commands`: shell lines. `settings`: those that differ from the run's preset, with the
    preset's value and the run's. `history`: changes since the run began: time, setting, old and new
    value. `hashes`: what, and its SHA-256 or commit. `yaml`: all settings."""

    commands: str
    settings: tuple[tuple[str, str, str], ...]
    history: tuple[tuple[str, str, str, str], ...]
    hashes: tuple[tuple[str, str], ...]
    yaml: str


def recipe(
    run: RunFolder, config: Config, content: Mapping[str, Any], epochs: list[EpochLine]
) -> Recipe:
    """`content`: that of config.yaml. Raises InputError naming a file that can't be read."""
    made_with = content.get("made_with") or {}
    return Recipe(
        _commands(run, made_with),
        _settings(config),
        tuple(
            (str(entry["time"]), key, setting(values[0]), setting(values[1]))
            for entry in content.get("history") or ()
            for key, values in entry["changed"].items()
        ),
        _hashes(run, epochs),
        files.dump(config),
    )


def _commands(run: RunFolder, made_with: Mapping[str, Any]) -> str:
    lines = []
    if made_with.get("git"):
        lines.append(f"git checkout {made_with['git']}")
    versions = made_with.get("versions") or {}
    # A local version, such as 2.13.0+cpu, is in no package index.
    pins = [
        f"{name}=={str(version).partition('+')[0]}"
        for name, version in versions.items()
        if name != "qsit_ray"
    ]
    lines.append(" ".join(["pip install -e .", *pins]))
    config = shlex.quote(str(run.config))
    lines.append(f"qsit run --preset {config} --out runs/again")
    return "\n".join(lines)


def _settings(config: Config) -> tuple[tuple[str, str, str], ...]:
    try:
        base = presets.resolve(config.preset)
    except InputError:  # the preset was a file, or is of another version
        return ()
    return tuple(
        (each.key, setting(each.before), setting(each.now))
        for each in changes(base, config)
        if each.key != "cache"
    )


def _hashes(run: RunFolder, epochs: list[EpochLine]) -> tuple[tuple[str, str], ...]:
    found = []
    if (run.catalog / "manifest.json").exists():
        name = "catalog/manifest.json, with the hashes of all data"
        found.append((name, artifacts.file_sha256(run.catalog / "manifest.json")))
    if run.base_models.exists():
        found += [
            (f"{role}, base model", str(entry["name"]))
            for role, entry in artifacts.read_json(run.base_models).items()
        ]
    found += [
        (f"plan of epoch {line.epoch}", line.plan_sha256) for line in epochs if line.plan_sha256
    ]
    return tuple(found)
