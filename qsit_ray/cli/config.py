"""pure: the verb that prints a configuration: config show."""

from __future__ import annotations

from typing import Annotated

import typer

from qsit_ray.cli.options import Json, Set
from qsit_ray.cli.printing import print_json


def register(config: typer.Typer) -> None:
    """Add the verbs to the command group `config`."""
    config.command("show")(show)
    config.callback()(lambda: None)  # one verb alone would become the group itself


def show(
    preset: Annotated[str, typer.Option(help="A preset's name, or a YAML file.")],
    assignments: Set = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Print every setting as YAML, with its description; --preset reads the file back."""
    from qsit_ray.config import presets
    from qsit_ray.config.files import dump_described, override

    settings = override(presets.resolve(preset), assignments)
    if as_json:
        print_json(settings.model_dump(mode="json"))
    else:
        print(dump_described(settings), end="")
