"""rim: the data verbs of labels: data read, import, select and levels."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from qsit_ray.cli.options import Confidence, Json, LowerBetter, Seed, Worded, wording
from qsit_ray.cli.printing import print_json, print_reasons, print_table, say
from qsit_ray.errors import InputError
from qsit_ray.reading import TABLES


class Boundary(StrEnum):
    right = "right"
    left = "left"


def register(data: typer.Typer) -> None:
    """Add the verbs to the command group `data`."""
    data.command("read")(read)
    data.command("import")(import_)
    data.command("select")(select)
    data.command("levels")(levels)


def read(
    name: Annotated[str, typer.Argument(metavar="NAME", help="koniq, spaq, livec, agiqa3k, …")],
    folder: Annotated[Path, typer.Argument(metavar="PATH", help="The database's folder.")],
    out: Annotated[Path, typer.Option(help="File for the labels: .parquet.")],
    as_json: Json = False,
) -> None:
    """Read a database as its owners ship it into one table of labels."""
    from qsit_ray.data import databases, labels

    found = databases.read(name, folder)
    labels.write(out, found)
    rows = found.rows
    content = {
        "dataset": found.dataset,
        "rows": len(rows),
        "images_missing": sum(not (folder / row.image).is_file() for row in rows),
        "scored": sum(row.mos is not None for row in rows),
        "with_std": sum(row.std is not None for row in rows),
        "with_votes": sum(row.votes is not None for row in rows),
        "low": found.low,
        "high": found.high,
        "lower_better": found.lower_better,
        "splits": dict(Counter(row.split for row in rows if row.split is not None)),
        "out": str(out),
    }
    if as_json:
        return print_json(content)
    print_table(f"{folder} to {out}", ("figure", "value"), list(content.items()))


def import_(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help=f"A file of `data read`, or {TABLES}.")
    ],
    to: Annotated[Path, typer.Option(help="D1's records: .json, .jsonl; or a test table: .csv.")],
    range_: Annotated[
        str, typer.Option("--range", help="Of the levels, as in `data levels`.")
    ] = "dataset",
    image: Annotated[str, typer.Option(help="Column of image paths of a foreign table.")] = "image",
    mos: Annotated[str, typer.Option(help="Column of scores of a foreign table.")] = "mos",
    split: Annotated[
        str | None, typer.Option(help="Split to take, or all. All but test by default.")
    ] = None,
    hold_out: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of the images for the test split where there is no split yet."
        ),
    ] = 0.0,
    seed: Seed = 0,
    lower_better: LowerBetter = False,
    worded: Worded = None,
    as_json: Json = False,
) -> None:
    """Make D1's records, or a test table, of a table of labels."""
    from qsit_ray.data import labels, scoring
    from qsit_ray.levels import Range

    if to.suffix not in (*scoring.RECORDS, scoring.TABLE):
        raise InputError(f"{to}: the ending must be .json, .jsonl (D1) or .csv (a test table)")
    scale = Range.parse(range_)
    profile = wording(worded)
    found = labels.load(table, image, mos, lower_better)
    if hold_out:
        found = scoring.hold_out(found, hold_out, seed)
    if to.suffix == scoring.TABLE:
        made = scoring.table(found, split)
    else:
        try:
            made = scoring.records(found, scale, split, profile)
        except InputError as error:
            raise InputError(f"{table}: {error}") from None
    scoring.write(to, made)
    content: dict[str, object] = {
        "rows": len(found.rows),
        "written": len(made.rows),
        "rejected": dict(made.rejects),
        "lower_better": found.lower_better,
        "levels": made.levels.counts(profile.words) if made.levels else None,
        "out": str(to),
    }
    if as_json:
        return print_json(content)
    print_table(f"{table} to {to}", ("figure", "value"), list(content.items()))


def select(
    table: Annotated[Path, typer.Argument(metavar="IN", help=f"{TABLES}.")],
    mos: Annotated[str, typer.Option(help="Column of scores.")],
    count: Annotated[int, typer.Option("--n", help="Images to choose.")],
    out: Annotated[Path, typer.Option(help="File for the chosen rows: .csv, .jsonl or .parquet.")],
    seed: Seed = 0,
    mean: Annotated[
        float | None, typer.Option(help="Mean to aim at. The middle of the scale by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Choose images so that their scores are spread evenly (Table III)."""
    from qsit_ray import tables
    from qsit_ray.data import selection

    tables.check_output(out)
    found = tables.read(table)
    try:
        chosen = selection.select(found.numbers(mos), count, seed, mean)
    except InputError as error:
        raise InputError(f"{table}: {error}") from None
    columns = {name: found.plain(name) for name in found.names}
    rows = chosen.rows.tolist()
    tables.write(out, {name: [values[row] for row in rows] for name, values in columns.items()})
    content: dict[str, object] = {
        "rows": found.rows,
        "written": len(rows),
        "mean": chosen.mean,
        "sd": chosen.sd,
        "target": chosen.target,
        "seed": seed,
        "bins": chosen.bins,
        "taken": chosen.taken,
        "limits": chosen.limits,
        "out": str(out),
    }
    if as_json:
        return print_json(content)
    shown = ("rows", "written", "mean", "sd", "target")
    print_table(f"{table} to {out}", ("figure", "value"), [(name, content[name]) for name in shown])
    if chosen.limits:
        parts = ", ".join(f"{low:.3g} to {high:.3g}" for low, high in chosen.limits)
        say(f"all images are taken of scores from {parts}: more of them would be evener")


def levels(
    table: Annotated[Path, typer.Argument(metavar="IN", help=f"{TABLES}.")],
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
    from qsit_ray import tables
    from qsit_ray.evaluation.intervals import Bootstrap
    from qsit_ray.evaluation.level_tables import convert_mos

    tables.check_output(out)
    if out.exists() and table.exists() and out.samefile(table):
        raise InputError(f"{out}: --out is the input table")
    result = convert_mos(
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
