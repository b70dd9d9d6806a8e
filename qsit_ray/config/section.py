"""pure: the base of every section of the configuration: frozen, strict, without unknown keys."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from functools import cache
from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


_NAME = r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_DNS = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_LABEL = re.compile(rf"(?:{_DNS}(?:\.{_DNS})*/)?{_NAME}")
_VALUE = re.compile(rf"!?(?:{_NAME}|in\({_NAME}(?:, ?{_NAME})*\))")


def _selector(labels: dict[str, str]) -> dict[str, str]:
    for label, value in labels.items():
        if not _LABEL.fullmatch(label):
            raise ValueError(f"{label!r} is not the name of a node label")
        if not _VALUE.fullmatch(value):
            raise ValueError(
                f"{label}: expected a value, !value, in(a, b) or !in(a, b), got {value!r}"
            )
    return labels


Nodes = Annotated[dict[str, str], AfterValidator(_selector)]
"""Node labels as Ray selects by them: each label with a value, `!value`, `in(a, b)` or
`!in(a, b)`."""


class Operational:
    """Marks a setting that changes memory, speed, patience or reporting: neither the rows nor the
    mathematics. It may change between the commands of one run."""


OPERATIONAL = Operational()


class Section(BaseModel):
    """The docstring under a field is its description, which `qsit config show` prints."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@cache
def descriptions(section: type[BaseModel]) -> dict[str, str]:
    """The docstring under each field, those of its bases too, on one line.

    Read from the source on request: pydantic would read them for every class at import, which took
    a third of a command's start.
    """
    found: dict[str, str] = {}
    for base in reversed(section.__bases__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            found |= descriptions(base)
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    assert isinstance(body, ast.ClassDef)
    for field, below in pairwise(body.body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.split())
    return found


def meaning(section: BaseModel) -> dict[str, Any]:
    """The settings of a section as JSON, without operational ones: what its results depend on."""
    values = section.model_dump(mode="json")
    for name, field in type(section).model_fields.items():
        inner = getattr(section, name)
        if OPERATIONAL in field.metadata:
            del values[name]
        elif isinstance(inner, BaseModel):
            values[name] = meaning(inner)
    return values
