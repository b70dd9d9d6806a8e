"""rim: the data verbs: data build, export, audit, lint, read, import, select and levels."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from qsit_ray import pipeline
from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.options import Confidence, Json, LowerBetter, Preset, Run, Seed, Set
from qsit_ray.cli.printing import print_json, print_reasons, print_table, say
from qsit_ray.cli.working import requested_config, working
from qsit_ray.config.data import LlavaData
from qsit_ray.config.places import absolute
from qsit_ray.errors import InputError
from qsit_ray.reading import FORMATS
from qsit_ray.terminal import Terminal

SHOWN = 50
"""Traps of a file that are printed."""


class Boundary(StrEnum):
    right = "right"
    left = "left"


def register(data: typer.Typer) -> None:
    """Add the verbs to the command group `data`."""
    data.command("init")(init)
    data.command("build")(build)
    data.command("export")(export)
    data.command("audit")(audit)
    data.command("unpack")(unpack)
    data.command("lint")(lint)
    data.command("read")(read)
    data.command("import")(import_)
    data.command("select")(select)
    data.command("distort")(distort)
    data.command("levels")(levels)


def init(
    folder: Annotated[Path, typer.Argument(metavar="PATH", help="Folder with the downloads.")],
    out: Annotated[Path, typer.Option(help="The YAML file to write.")],
    extends: Annotated[str, typer.Option(help="Preset that the file extends.")] = "demo",
    seed: Seed = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: Json = False,
) -> None:
    """Write a commented YAML for the databases, records and questions found below a folder.

    Files are judged by layout and content. Labels become D1 and test tables in a folder beside the
    YAML; what is not recognised is said with the reason, also in the YAML.
    """
    from qsit_ray.config import presets
    from qsit_ray.data import discovery, draft

    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"{out}: the ending must be .yaml")
    if out.exists() and not force:
        raise InputError(f"{out}: exists; --force replaces it")
    presets.resolve(extends)
    made = out.with_suffix("")
    if as_json:
        found = discovery.discover(folder, made, lambda done, total: None)
    else:
        with Terminal().bar("Look through the files") as bar:
            found = discovery.discover(folder, made, bar.update)
    drafted = draft.write(found, folder, out, extends, seed)
    uses = {
        use: [str(each.file) for each in found.records if each.use == use]
        for use in ("scoring", "interpreting", "general", "questions")
    }
    content = {
        "images": found.images,
        "databases": {each.dataset: len(each.rows) for each in found.labels},
        **uses,
        "unknown": {draft.shown(path): reason for path, reason in found.unknown},
        "lacking": list(drafted.lacking),
        "out": str(out),
    }
    if as_json:
        return print_json(content)
    rows = [(each.dataset, "images with scores", len(each.rows)) for each in found.labels]
    rows += [
        (str(each.file.relative_to(folder.absolute())), each.use, each.count)
        for each in found.records
    ]
    print_table(f"{folder}: {found.images:,} images", ("what", "taken as", "rows"), rows)
    for path, reason in found.unknown:
        say(f"not recognised: {draft.shown(path)}: {reason}")
    for key in drafted.lacking:
        say(f"nothing found for {key}; fill it in before a run")
    say(f"{out}: written; check it, then: qsit data build RUN --preset {out}")


def build(run: Run, preset: Preset = None, assignments: Set = []) -> None:  # noqa: B006
    """Build the catalog, the demo's base models, and count the tokens of each row."""
    from qsit_ray.stages.catalog import build as build_catalog

    folder = RunFolder(run.absolute())
    requested = requested_config(folder, preset, assignments)
    if not folder.config.exists() and isinstance(requested.data, LlavaData):
        # First: what is wrong with the data is then known without the models.
        with folder.lock():
            build_catalog(folder, absolute(requested), Terminal())
    with working(folder, requested) as (config, terminal):
        pipeline.build_data(folder, config, terminal)


def export(
    run: Run,
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    kind: Annotated[
        Literal["llava", "ms-swift", "parquet", "hf"],
        typer.Option("--format", help="Of the files."),
    ] = "llava",
    epoch: Annotated[
        int | None, typer.Option(min=0, help="Rows of this epoch. All training rows by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the rows of an epoch, or all, for another trainer: exactly those that are planned."""
    import numpy as np

    from qsit_ray.data import export as files
    from qsit_ray.data.catalog import open_catalog
    from qsit_ray.run_config import opened
    from qsit_ray.train.planned import plan_of

    folder = RunFolder(run.absolute())
    settings = opened(folder)
    catalog = open_catalog(folder.catalog)
    rows = np.arange(len(catalog.rows), dtype=np.int64)
    if epoch is not None:
        rows = plan_of(folder, settings, epoch).rows
    try:
        counts = files.write(catalog, rows, kind, out)
    except OSError as error:
        raise InputError(f"{out}: can't write it: {error}") from None
    content = {"rows": len(rows), **counts, "out": str(out)}
    if as_json:
        return print_json(content)
    print_table(f"{run} to {out}", ("figure", "value"), list(content.items()))


def audit(
    run: Run,
    drop_leaks: Annotated[
        bool,
        typer.Option(
            "--drop-leaks",
            help="Set data.leaks to drop, and build the catalog again without the training records "
            "whose image is one of an evaluation set.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Find images of two splits, repeated rows, labels that contradict each other, cut answers."""
    from qsit_ray.data.audit import audit as audited
    from qsit_ray.data.catalog import open_catalog
    from qsit_ray.data.tokens import read_cut

    folder = RunFolder(run.absolute())
    if drop_leaks:
        with working(folder, requested_config(folder, None, ["data.leaks=drop"])) as held:
            pipeline.build_data(folder, *held)
        open_catalog.cache_clear()
    catalog, cut = open_catalog(folder.catalog), read_cut(folder)
    if as_json:
        found = audited(catalog, cut, lambda done, total: None)
        return print_json({"findings": [asdict(each) for each in found]})
    with Terminal().bar("Read the images") as bar:
        found = audited(catalog, cut, bar.update)
    if not found:
        return say(f"{run}: nothing found")
    rows = [(each.kind, each.count, ", ".join(each.examples)) for each in found]
    print_table(f"{run}", ("finding", "count", "for example"), rows)


def unpack(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN", help="A folder of datasets' save_to_disk, .parquet, or a webdataset."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for records.jsonl and images/.")],
    split: Annotated[str | None, typer.Option(help="Of a folder that has several.")] = None,
    as_json: Json = False,
) -> None:
    """Write records that have their images inside as a file of records and files of images."""
    from qsit_ray.data import unpacking

    if as_json:
        done = unpacking.unpack(source, split, out, lambda rows: None)
        return print_json({**asdict(done), "out": str(out)})
    with Terminal().bar("Unpack the rows") as bar:
        done = unpacking.unpack(source, split, out, lambda rows: bar.update(rows, rows))
    print_table(f"{source} to {out}", ("figure", "value"), list(asdict(done).items()))


def lint(
    file: Annotated[Path, typer.Argument(help="A LLaVA-NeXT data YAML, or a file of records.")],
    as_json: Json = False,
) -> None:
    """List what a data file would do, without a word, in LLaVA-NeXT and ms-swift."""
    from qsit_ray.data.lint import lint as traps_of

    found = traps_of(file)
    if as_json:
        return print_json({"traps": [asdict(trap) for trap in found]})
    if not found:
        return say(f"{file}: no trap found")
    print_table(str(file), ("where", "what"), [(trap.place, trap.what) for trap in found[:SHOWN]])
    if len(found) > SHOWN:
        say(f"{len(found) - SHOWN:,} more; --json lists all")


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
        Path, typer.Argument(metavar="TABLE", help=f"A file of `data read`, or {FORMATS}.")
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
    as_json: Json = False,
) -> None:
    """Make D1's records, or a test table, of a table of labels."""
    from qsit_ray.data import labels, scoring
    from qsit_ray.levels import Range

    if to.suffix not in (*scoring.RECORDS, scoring.TABLE):
        raise InputError(f"{to}: the ending must be .json, .jsonl (D1) or .csv (a test table)")
    scale = Range.parse(range_)
    found = labels.load(table, image, mos, lower_better)
    if hold_out:
        found = scoring.hold_out(found, hold_out, seed)
    if to.suffix == scoring.TABLE:
        made = scoring.table(found, split)
    else:
        try:
            made = scoring.records(found, scale, split=split)
        except InputError as error:
            raise InputError(f"{table}: {error}") from None
    scoring.write(to, made)
    content: dict[str, object] = {
        "rows": len(found.rows),
        "written": len(made.rows),
        "rejected": dict(made.rejects),
        "lower_better": found.lower_better,
        "levels": made.levels.counts() if made.levels else None,
        "out": str(to),
    }
    if as_json:
        return print_json(content)
    print_table(f"{table} to {to}", ("figure", "value"), list(content.items()))


def select(
    table: Annotated[Path, typer.Argument(metavar="IN", help=f"{FORMATS}.")],
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


def distort(
    source: Annotated[str, typer.Argument(metavar="IN_DIR", help="A folder, or a bucket's.")],
    out: Annotated[str, typer.Argument(metavar="OUT_DIR", help="A folder, or a bucket's.")],
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Give each image one of fifteen distortions with a random severity; resumes where stopped."""
    from qsit_ray.artifacts import path_of
    from qsit_ray.data import distorting

    folders = path_of(source), path_of(out)
    if as_json:
        done = distorting.distort(*folders, seed, lambda done, total: None)
        return print_json({**asdict(done), "out": out})
    with Terminal().bar("Distort the images") as bar:
        done = distorting.distort(*folders, seed, bar.update)
    print_table(f"{source} to {out}", ("figure", "value"), list(asdict(done).items()))
    if done.rejected:
        say(f"rejects: {out}/rejects.jsonl")


def levels(
    table: Annotated[Path, typer.Argument(metavar="IN", help=f"{FORMATS}.")],
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
