"""pure: the verb that prints a configuration: config show."""

from __future__ import annotations

from typing import Annotated

import typer

from qsit_ray.cli.options import Set


def register(config: typer.Typer) -> None:
    """Add the verbs to the command group `config`."""
    config.command("show")(show)
    config.callback()(lambda: None)  # one verb alone would become the group itself


def show(
    preset: Annotated[str, typer.Option(help="A preset's name, or a YAML file.")],
    assignments: Set = [],  # noqa: B006
) -> None:
    """Print a whole configuration as YAML: every setting, resolved."""
    from qsit_ray.config import presets
    from qsit_ray.config.files import dump, override

    print(dump(override(presets.resolve(preset), assignments)), end="")
