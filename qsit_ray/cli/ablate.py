"""rim: the verb `qsit ablate`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.options import Out, Preset, Set
from qsit_ray.cli.working import requested_config, working
from qsit_ray.ray_job import check_address


def ablate(
    out: Out,
    study: Annotated[
        Literal["domains", "controller", "scoring", "labels"],
        typer.Option(
            help="Arms: Table VII's `domains`, the `controller`'s rules, or Table IV's `scoring`"
            " on one pool of D1, or hard and soft `labels`."
        ),
    ] = "domains",
    preset: Preset = None,
    only: Annotated[
        str | None,
        typer.Option(help="Arms to train now, a comma between, besides `method`. By default all."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repeats of each arm.")] = 3,
    assignments: Set = [],  # noqa: B006
) -> None:
    """Train a run's ablations and compare them; what has ended is skipped."""
    check_address()
    folder = RunFolder(out.absolute())
    with working(folder, requested_config(folder, preset, assignments)) as (settings, terminal):
        from qsit_ray import ablation  # here: a run that is held is refused at once
        from qsit_ray.report import ablations

        names = None if only is None else [name.strip() for name in only.split(",")]
        results = ablation.ablate(folder, settings, study, range(seeds), terminal, names)
        rows = [ablations.cells(result) for result in results]
        terminal.table(f"{out}: {study}", ablations.COLUMNS, rows)
