"""pure: configurations from YAML and back, with errors that name the file and the dotted key."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from qsit_ray.config.config import Config
from qsit_ray.config.data import SOURCES
from qsit_ray.errors import InputError

Value = TypeVar("Value")
WIDTH = 100


def validated(kind: type[Value], values: Any, origin: str) -> Value:
    """A section or dataclass from plain values. Raises InputError naming `origin` and the key."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        # Below `data` pydantic inserts the kind of source that it checked against.
        at = first["loc"]
        parts = [p for i, p in enumerate(at) if (at[0], i) != ("data", 1) or p not in SOURCES]
        key = ".".join(str(part) for part in parts)
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "unknown key"
        elif first["type"] != "missing" and key:
            message += f", got {first['input']!r}" if not isinstance(first["input"], dict) else ""
        raise InputError(f"{origin}: {key + ': ' if key else ''}{message}") from None


def override(config: Config, assignments: Iterable[str]) -> Config:
    """`config` with `a.b=value` assignments applied; values are YAML.

    Raises InputError naming the dotted key when it does not exist or its value is not valid.
    """
    values = config.model_dump(mode="json")
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"--set {assignment}: expected key=value")
        *parents, name = key.split(".")
        target = values
        for depth, parent in enumerate(parents, start=1):
            at = ".".join(parents[:depth])
            if parent in target and target[parent] is None:
                raise InputError(f"--set: {at} is null; give all of it, as {at}={{…}}")
            if not isinstance(target.get(parent), dict):
                raise InputError(f"--set: {at}: unknown key")
            target = target[parent]
        try:
            target[name] = yaml.load(text, _Loader)
        except yaml.YAMLError:
            raise InputError(f"--set {key}: {text!r} is not YAML") from None
    return validated(Config, values, "--set")


def load(path: Path) -> Config:
    """The configuration of a YAML file. Raises InputError naming the file and the key."""
    return validated(Config, read_yaml(path), str(path))


def dump(config: Config) -> str:
    """YAML that `load` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def dump_described(section: BaseModel, indent: str = "") -> str:
    """YAML that `load` reads back, with each field's description as a comment above its key."""
    lines = []
    values = section.model_dump(mode="json")
    for name, field in type(section).model_fields.items():
        comment = textwrap.wrap(
            " ".join((field.description or "").split()), WIDTH - len(indent) - 2
        )
        lines += [f"{indent}# {line}\n" for line in comment]
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            lines += [f"{indent}{name}:\n", dump_described(value, indent + "  ")]
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            lines.append(f"{indent}{name}:\n")
            for each in value:
                lines += [f"{indent}  -\n", dump_described(each, indent + "    ")]
        else:
            style = None if isinstance(value, tuple) else False  # None: a list on one line
            text = yaml.safe_dump(
                {name: values[name]}, default_flow_style=style, sort_keys=False, width=WIDTH
            )
            lines.append(textwrap.indent(text, indent))
    return "".join(lines)


def read_yaml(path: Path) -> Any:
    """The value of a YAML file. Raises InputError naming the file, also for a repeated key."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't read it: {error}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


class _Loader(yaml.SafeLoader):
    """YAML itself takes the last of two values with one key, without a word, and 1e-3 as a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value} occurs twice,", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)
