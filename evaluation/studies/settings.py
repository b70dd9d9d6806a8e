"""pure: every setting by its dotted key, from the types of qsit_ray/config/: values that it may
have, its default, its values in the presets, its meaning.

Writes the section `settings` of docs/CONFIG.md.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from qsit_ray.config import presets
from qsit_ray.config.config import Config
from qsit_ray.config.section import OPERATIONAL, descriptions
from qsit_ray.evaluation.studies.sections import Page, command_line, write_section

PRESETS = ("demo", "paper")
PLAIN = {
    int: "whole number", float: "number", bool: "true or false", str: "text", NoneType: "null"
}  # fmt: skip
WIDTH = 150


@dataclass(frozen=True)
class Key:
    """One setting. `values`: what it may be; `default`: as JSON, None where a preset or file must
    give it; `in_presets`: the presets' values that differ from it; `operational`: no result
    depends on it."""

    name: str
    values: str
    default: str | None
    in_presets: Mapping[str, str]
    operational: bool
    meaning: str


@dataclass(frozen=True)
class Part:
    """A section of the configuration. `meaning`: of the key that holds it; `keys`: its own, without
    those of sections within it."""

    title: str
    meaning: str
    keys: tuple[Key, ...]


def parts(configs: Mapping[str, Config]) -> list[Part]:
    """All sections of a configuration, each before those within it, with the values of `configs`
    by their names."""
    return list(_parts(Config, "", "The run", "", configs))


WITHIN: dict[Any, str] = {tuple: "[]", dict: ".<name>"}
"""What follows the key of several sections."""


def _parts(
    section: type[BaseModel], prefix: str, title: str, meaning: str, values: Mapping[str, Any]
) -> Iterator[Part]:
    plain: list[Key] = []
    within: list[Iterator[Part]] = []
    described = descriptions(section)
    for name, field in section.model_fields.items():
        given = {preset: getattr(each, name) for preset, each in values.items()}
        kinds = list(_sections(field.annotation))
        if not kinds:
            plain.append(_key(f"{prefix}{name}", field, described.get(name, ""), given))
        for kind in kinds:
            each_of = WITHIN.get(get_origin(field.annotation), "")
            title_of = f"`{prefix}{name}`"
            if len(kinds) > 1:
                title_of += f" with `source: {kind.model_fields['source'].default}`"
            below = {preset: each for preset, each in given.items() if isinstance(each, kind)}
            inside = f"{prefix}{name}{each_of}."
            within.append(
                _parts(kind, inside, title_of, _meaning(field, described.get(name, "")), below)
            )
    yield Part(title, meaning, tuple(plain))
    for each in within:
        yield from each


def _meaning(field: FieldInfo, words: str) -> str:
    optional = field.default is None and "Null: " in words
    return words.replace("Null: ", "Null, its default: ") if optional else words


def _key(name: str, field: FieldInfo, words: str, given: Mapping[str, Any]) -> Key:
    default = field.get_default(call_default_factory=True)
    shown = None if default is PydanticUndefined else _shown(default)
    return Key(
        name,
        _values(field.annotation, field.metadata),
        shown,
        {preset: _shown(each) for preset, each in given.items() if _shown(each) != shown},
        OPERATIONAL in field.metadata,
        words,
    )


def _sections(kind: Any) -> Iterator[type[BaseModel]]:
    """The sections that values of a type are or hold."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        return
    for each in get_args(kind):
        yield from _sections(each)


def _values(kind: Any, marks: Any = ()) -> str:
    """What a value of a type may be, in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _values(inner[0], [*inner[1:], *marks])
    if origin in (Union, UnionType):
        of = [_values(each, () if each is NoneType else marks) for each in inner]
        return " or ".join(dict.fromkeys(of))
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in inner)
    if origin is tuple:
        return f"list of: {_values(inner[0])}"
    if origin is dict:
        return f"mapping of text to {_values(inner[1])}"
    return f"{PLAIN[kind]} {', '.join(_bounds(marks))}".strip()


def _bounds(marks: Any) -> Iterator[str]:
    for mark in marks:
        for each in [mark, *getattr(mark, "metadata", ())]:
            if isinstance(each, annotated_types.Ge):
                yield f"≥ {each.ge}"
            elif isinstance(each, annotated_types.Gt):
                yield f"> {each.gt}"
            elif isinstance(each, annotated_types.Le):
                yield f"≤ {each.le}"
            elif isinstance(each, annotated_types.Lt):
                yield f"< {each.lt}"


def _shown(value: Any) -> str:
    """A value on one line, as a YAML file may have it."""
    return json.dumps(value, ensure_ascii=False)


def settings() -> str:
    """All keys, under a heading for each section."""
    found = parts({name: presets.resolve(name) for name in PRESETS})
    return "\n\n".join(_written(part) for part in found)


def _written(part: Part) -> str:
    texts = [f"## {part.title}"]
    if part.meaning:
        texts.append("\n".join(_wrapped(part.meaning)))
    return "\n\n".join([*texts, *map(_entry, part.keys)])


def _entry(key: Key) -> str:
    """A key as an item of a list: facts in its first line, the meaning below."""
    facts = [key.values]
    facts.append("no default" if key.default is None else f"default `{key.default}`")
    facts += [f"{preset} `{value}`" for preset, value in key.in_presets.items()]
    facts += ["operational"] if key.operational else []
    first = _wrapped(f"- **`{key.name}`**: {'; '.join(facts)}")
    lines = [*first[:-1], first[-1] + "<br>", *_wrapped(key.meaning)]
    return "\n".join([lines[0], *(f"  {line}" for line in lines[1:])])


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def write(out: Page = Path("docs/CONFIG.md")) -> None:
    """Every setting, from its type."""
    write_section(out, "settings", command_line("settings", "docs/CONFIG.md"), settings())
