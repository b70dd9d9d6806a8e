"""pure: the options and arguments that several verbs share, each defined once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from qsit_ray.errors import InputError

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


Run = Annotated[Path, typer.Argument(help="The run folder.", callback=local)]
Preset = Annotated[str | None, typer.Option(help="A preset's name, or a YAML file.")]
Out = Annotated[Path, typer.Option(help="The run folder to create or to continue.", callback=local)]
Set = Annotated[list[str], typer.Option("--set", help="Override one setting: a.b=value.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
LowerBetter = Annotated[
    bool, typer.Option("--lower-better", help="The truth is DMOS, which falls with quality.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of what is drawn.")]
Confidence = Annotated[float, typer.Option(help="Confidence of the intervals, between 0 and 1.")]
