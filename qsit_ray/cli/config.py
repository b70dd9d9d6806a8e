"""rim: the verbs of settings: config show, config write and config diff."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.options import Json, Run, Set
from qsit_ray.cli.printing import print_json
from qsit_ray.errors import InputError
from qsit_ray.terminal import Terminal

MAY = {
    "operational": "no result depends on it",
    "extension": "what is done stays, the rest is added",
    "result": "nothing depends on it yet",
}


def register(config: typer.Typer) -> None:
    """Add the verbs to the command group `config`."""
    config.command("show")(show)
    config.command("write")(write)
    config.command("diff")(diff)


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


def write(
    preset: Annotated[str, typer.Option(help="A preset's name, or a YAML file.")],
    out: Annotated[Path, typer.Option(help="The YAML file to write.")],
    assignments: Set = [],  # noqa: B006
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write every setting to a YAML file, with its description, for --preset."""
    from qsit_ray import artifacts
    from qsit_ray.config import presets
    from qsit_ray.config.files import dump_described, override

    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"{out}: the ending must be .yaml")
    if out.exists() and not force:
        raise InputError(f"{out}: exists; --force replaces it")
    text = dump_described(override(presets.resolve(preset), assignments))
    try:
        artifacts.write_text(out, text)
    except OSError as error:
        raise InputError(f"{out}: can't write it: {error}") from None
    Terminal().say(f"{out}: written; edit it and give it as --preset {out}")


def diff(
    run: Run,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A YAML file, a preset's name, or a run.")
    ],
    assignments: Set = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Compare a run's settings with a file's, and say which of them may still change.

    A setting may change when it is operational (memory, speed, patience, reporting), when it only
    adds trials or epochs, or when no result of the run depends on it yet.
    """
    from qsit_ray.config import presets
    from qsit_ray.config.changes import changes
    from qsit_ray.config.files import override
    from qsit_ray.config.places import absolute
    from qsit_ray.models.base import recorded, with_names
    from qsit_ray.run_config import opened, work

    folder = RunFolder(run.absolute())
    before = opened(folder)
    other = absolute(override(presets.resolve(file), assignments))
    found = changes(absolute(before), with_names(other, recorded(folder)))
    worked = work(folder, before)
    depends = [next((worked[p] for p in each.parts if p in worked), None) for each in found]
    if as_json:
        rows = [
            {"key": e.key, "run": e.before, "file": e.now, "kind": e.kind, "refused": d}
            for e, d in zip(found, depends, strict=True)
        ]
        print_json({"differ": rows})
        return
    terminal = Terminal()
    if not found:
        terminal.say("no setting differs")
        return
    terminal.table(
        f"{run} and {file}",
        ["setting", "the run", "the file", "may it change?"],
        [
            (
                each.key,
                f"{each.before}",
                f"{each.now}",
                f"no: {d}" if d else f"yes: {MAY[each.kind]}",
            )
            for each, d in zip(found, depends, strict=True)
        ],
    )
