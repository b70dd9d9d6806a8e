"""pure: the options and arguments that several verbs share, each defined once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from qsit_ray.errors import InputError

if TYPE_CHECKING:
    from qsit_ray.prompts import Profile

Folder = TypeVar("Folder", Path, Path | None)


def local(folder: Folder) -> Folder:
    """The folder itself, or None where none is given.

    Raises InputError for a URL, of which Path would make a local folder.
    """
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(folder)):
        raise InputError(
            f"{folder}: a run folder is on a local or shared disk; give an object store as "
            "search.storage"
        )
    return folder


def all_local(folders: list[Path]) -> list[Path]:
    """The folders themselves; raises InputError as `local` does."""
    return [local(folder) for folder in folders]


def wording(preset: str | None) -> Profile:
    """How the rows are worded that a verb makes: as the configuration says, or the paper's."""
    from qsit_ray.config import presets
    from qsit_ray.prompts import PAPER

    return PAPER if preset is None else presets.resolve(preset).prompts.profile


Run = Annotated[Path, typer.Argument(help="The run folder.", callback=local)]
Preset = Annotated[str | None, typer.Option(help="A preset's name, or a YAML file.")]
Worded = Annotated[
    str | None,
    typer.Option("--preset", help="A configuration whose `prompts` the rows are worded as."),
]
Out = Annotated[Path, typer.Option(help="The run folder to create or to continue.", callback=local)]
Set = Annotated[list[str], typer.Option("--set", help="Override one setting: a.b=value.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
LowerBetter = Annotated[
    bool, typer.Option("--lower-better", help="The truth is DMOS, which falls with quality.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of what is drawn.")]
Confidence = Annotated[float, typer.Option(help="Confidence of the intervals, between 0 and 1.")]
