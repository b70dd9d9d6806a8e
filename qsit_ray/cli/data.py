"""rim: the data verbs: data build, data levels."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from qsit_ray import pipeline
from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.options import Confidence, Json, LowerBetter, Preset, Run, Seed, Set
from qsit_ray.cli.printing import print_json, print_reasons, print_table
from qsit_ray.cli.working import requested_config, working
from qsit_ray.errors import InputError


class Boundary(StrEnum):
    right = "right"
    left = "left"


def register(data: typer.Typer) -> None:
    """Add the verbs to the command group `data`."""
    data.command("build")(build)
    data.command("levels")(levels)


def build(run: Run, preset: Preset = None, assignments: Set = []) -> None:  # noqa: B006
    """Build the catalog, the demo's base models, and count the tokens of each row."""
    folder = RunFolder(run.absolute())
    with working(folder, requested_config(folder, preset, assignments)) as (config, terminal):
        pipeline.build_data(folder, config, terminal)


def levels(
    table: Annotated[Path, typer.Argument(metavar="IN", help="csv, tsv, jsonl, json, parquet.")],
    id_: Annotated[str, typer.Option("--id", help="Column of ids.")],
    mos: Annotated[str, typer.Option(help="Column of mean opinion scores.")],
    range_: Annotated[
        str,
        typer.Option(
            "--range",
            help="dataset, trimmed:FRACTION, explicit:LOW:HIGH, koniq-release or spaq-release.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="File for id, mos, level: .csv, .jsonl or .parquet.")],
    boundary: Annotated[
        Boundary | None,
        typer.Option(help="right: (a, b], left: [a, b). A released range has its own side."),
    ] = None,
    lower_better: LowerBetter = False,
    as_json: Json = False,
    seed: Seed = 0,
    confidence: Confidence = 0.95,
) -> None:
    """Convert MOS to level words, and correlate the levels with the MOS (Table II)."""
    from evaluation import outputs
    from evaluation.intervals import Bootstrap
    from qsit_ray import tables

    tables.check_output(out)
    if out.exists() and table.exists() and out.samefile(table):
        raise InputError(f"{out}: --out is the input table")
    result = outputs.convert_mos(
        table,
        id_column=id_,
        mos_column=mos,
        range_text=range_,
        boundary=boundary.value if boundary else None,
        lower_better=lower_better,
        bootstrap=Bootstrap(seed, confidence),
    )
    tables.write(out, result.columns())
    content = result.to_json()
    if as_json:
        return print_json(content | {"out": str(out)})
    shown = ("rows", "written", "rejected", "clipped", "low", "high", "boundary", "srcc", "plcc")
    print_table(f"{table} to {out}", ("figure", "value"), [(name, content[name]) for name in shown])
    print_table("Levels", ("level", "rows"), list(result.conversion.counts().items()))
    print_reasons(result.reasons)
