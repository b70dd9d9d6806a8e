"""pure: configurations from YAML and back, with errors that name the file and the dotted key."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from qsit_ray.config.config import Config
from qsit_ray.config.data import SOURCES
from qsit_ray.errors import InputError

AnySection = TypeVar("AnySection", bound=BaseModel)


def parse(values: Any, origin: str) -> Config:
    """A Config from plain values. Raises InputError naming `origin` and the dotted key."""
    return validated(Config, values, origin)


def validated(section: type[AnySection], values: Any, origin: str) -> AnySection:
    """Any section from plain values. Raises InputError naming `origin` and the dotted key."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        # Behind `data` pydantic names the kind of source that it checked against.
        parts = [p for i, p in enumerate(first["loc"]) if i != 1 or p not in SOURCES]
        key = ".".join(str(part) for part in parts)
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "unknown key"
        elif first["type"] != "missing" and key:
            message += f", got {first['input']!r}" if not isinstance(first["input"], dict) else ""
        raise InputError(f"{origin}: {key + ': ' if key else ''}{message}") from None


def override(config: Config, assignments: Iterable[str]) -> Config:
    """`config` with `a.b=value` assignments applied; values are YAML.

    Raises InputError naming the dotted key when it does not exist or its value is impossible.
    """
    values = config.model_dump(mode="json")
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"--set {assignment}: expected key=value")
        *parents, name = key.split(".")
        target = values
        for depth, parent in enumerate(parents, start=1):
            if parent in target and target[parent] is None:
                at = ".".join(parents[:depth])
                raise InputError(f"--set: {at} is null; give all of it, as {at}={{…}}")
            if not isinstance(target.get(parent), dict):
                raise InputError(f"--set: {'.'.join(parents[:depth])}: unknown key")
            target = target[parent]
        try:
            target[name] = _value(text)
        except yaml.YAMLError:
            raise InputError(f"--set {key}: {text!r} is not YAML") from None
    return parse(values, "--set")


def _value(text: str) -> Any:
    """A YAML value; 1e-3 too is a number, which YAML 1.1 takes for a word."""
    value = yaml.safe_load(text)
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value)
    return value


def load(path: Path) -> Config:
    """The configuration of a YAML file. Raises InputError naming the file and the key."""
    return parse(read_yaml(path), str(path))


def dump(config: Config) -> str:
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def read_yaml(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _OneOfEach)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't read it: {error}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


class _OneOfEach(yaml.SafeLoader):
    """YAML itself would take the last of two values with one key, and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value} is there twice,", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def difference(one: Config, other: Config) -> list[str]:
    """Dotted names of the settings in which two configurations differ."""
    return changed(one.model_dump(mode="json"), other.model_dump(mode="json"))


def changed(one: Any, other: Any, prefix: str = "") -> list[str]:
    """Dotted names of what differs between two nested dicts."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = list(one) + [key for key in other if key not in one]
        return [
            name
            for key in keys
            for name in changed(one.get(key), other.get(key), f"{prefix}{key}.")
        ]
    return [] if one == other else [prefix[:-1]]
