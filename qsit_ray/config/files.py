"""pure: configurations from YAML and back, with errors that name the file and the dotted key."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from qsit_ray.addresses import masked
from qsit_ray.config.config import Config
from qsit_ray.config.data import SOURCES
from qsit_ray.config.section import descriptions
from qsit_ray.errors import InputError

Value = TypeVar("Value")
WIDTH = 100
RUN_ENTRIES = ("made_with", "history")
"""What a run's config.yaml has besides settings."""


def validated(kind: type[Value], values: Any, origin: str, every: bool = False) -> Value:
    """A section or dataclass from plain values.

    Raises InputError naming `origin` and the first key that is wrong, or `every` one.
    """
    try:
        return cast(Value, _adapter(cast(Any, kind)).validate_python(values))
    except ValidationError as error:
        found = error.errors()
        # A wrong item also makes its list too short, which is no second mistake.
        within = {each["loc"][:depth] for each in found for depth in range(len(each["loc"]))}
        first = [each for each in found if each["loc"] not in within or not each["loc"]]
        mistakes = list(dict.fromkeys(map(_mistake, first)))
        if len(mistakes) == 1 or not every:
            raise InputError(f"{origin}: {mistakes[0]}") from None
        lines = [f"{origin}: {len(mistakes)} mistakes", *mistakes]
        raise InputError("\n  ".join(lines)) from None


@lru_cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Made once a type: files have a value on each of many lines."""
    return TypeAdapter(kind)


def _mistake(error: ErrorDetails) -> str:
    # Below `data` pydantic inserts the kind of source that it checked against.
    at = error["loc"]
    parts = [p for i, p in enumerate(at) if (at[0], i) != ("data", 1) or p not in SOURCES]
    key = ".".join(str(part) for part in parts)
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "unknown key"
    elif error["type"] != "missing" and key:
        given = masked(repr(error["input"]))
        message += f", got {given}" if not isinstance(error["input"], dict) else ""
    return f"{key}: {message}" if key else message


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
            raise InputError(f"--set {key}: {masked(text)!r} is not YAML") from None
    return validated(Config, values, "--set", every=True)


def merged(base: Any, changes: Any) -> Any:
    """`base` with the values of `changes`, mapping by mapping; a `source` other than the base's
    replaces the mapping that has it."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    if base.get("source") != changes.get("source", base.get("source")):
        return changes
    return base | {key: merged(base.get(key), value) for key, value in changes.items()}


def dump(config: Config) -> str:
    """YAML that a preset's file may hold."""
    return _dumped(config.model_dump(mode="json"))


def dump_described(section: BaseModel, indent: str = "") -> str:
    """YAML that a preset's file may hold, with each field's description as a comment above it."""
    lines = []
    values = section.model_dump(mode="json")
    described = descriptions(type(section))
    for name in type(section).model_fields:
        comment = textwrap.wrap(described.get(name, ""), WIDTH - len(indent) - 2)
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
            text = _dumped({name: values[name]}, default_flow_style=style, width=WIDTH)
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


def _dumped(values: Any, **style: Any) -> str:
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, **style)
    return text


class _Dumper(yaml.SafeDumper):
    """Lines of a text as lines."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = "|" if "\n" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _Dumper.represent_text)


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
