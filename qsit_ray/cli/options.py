"""pure: the options and arguments that several verbs share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[Path, typer.Argument(help="The run folder.")]
Preset = Annotated[str | None, typer.Option(help="A preset's name, or a YAML file.")]
Out = Annotated[Path, typer.Option(help="The run folder to create or to continue.")]
Set = Annotated[list[str], typer.Option("--set", help="Override one setting: a.b=value.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")]
Confidence = Annotated[float, typer.Option(help="Confidence of the intervals, between 0 and 1.")]
