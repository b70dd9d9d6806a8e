"""pure: the base of every section of the configuration: frozen, strict, without unknown keys."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Operational:
    """Marks a setting that changes memory, speed, patience or reporting: neither the rows nor the
    mathematics. It may change between the commands of one run."""


OPERATIONAL = Operational()


class Section(BaseModel):
    """The docstring under a field becomes its description, which `qsit config show` prints."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


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
