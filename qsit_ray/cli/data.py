"""rim: the data verbs of files and runs: init, build, export, audit, unpack, lint, distort."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.options import Json, Preset, Run, Seed, Set
from qsit_ray.cli.printing import print_json, print_table, say
from qsit_ray.cli.working import requested_config, working
from qsit_ray.errors import InputError
from qsit_ray.terminal import Terminal

SHOWN = 50
"""Traps of a file that are printed."""


def register(data: typer.Typer) -> None:
    """Add the verbs to the command group `data`."""
    data.command("init")(init)
    data.command("build")(build)
    data.command("export")(export)
    data.command("audit")(audit)
    data.command("unpack")(unpack)
    data.command("lint")(lint)
    data.command("distort")(distort)


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
    profile = presets.resolve(extends).prompts.profile
    made = out.with_suffix("")
    if as_json:
        found = discovery.discover(folder, made, lambda done, total: None)
    else:
        with Terminal().bar("Look through the files") as bar:
            found = discovery.discover(folder, made, bar.update)
    drafted = draft.write(found, folder, out, extends, seed, profile)
    uses = {
        use: [str(each.file) for each in found.records if each.use == use]
        for use in ("scoring", "interpreting", "general", "questions")
    }
    content = {
        "images": found.images,
        "databases": dict(drafted.databases),
        **uses,
        "unknown": {draft.shown(path): reason for path, reason in found.unknown},
        "lacking": list(drafted.lacking),
        "out": str(out),
    }
    if as_json:
        return print_json(content)
    rows = [(name, "images with scores", count) for name, count in drafted.databases.items()]
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
    from qsit_ray import pipeline
    from qsit_ray.config.data import OwnData
    from qsit_ray.config.places import absolute
    from qsit_ray.stages.catalog import build as build_catalog

    folder = RunFolder(run.absolute())
    requested = requested_config(folder, preset, assignments)
    if not folder.config.exists() and isinstance(requested.data, OwnData):
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
    from qsit_ray import pipeline
    from qsit_ray.data.audit import audit as audited
    from qsit_ray.data.catalog import open_catalog
    from qsit_ray.data.tokens import read_cut

    folder = RunFolder(run.absolute())
    if drop_leaks and as_json:
        raise InputError("--drop-leaks tells what it builds; give --json in a second command")
    if drop_leaks:
        with working(folder, requested_config(folder, None, ["data.leaks=drop"])) as held:
            pipeline.build_data(folder, *held)
        open_catalog.cache_clear()
    catalog, cut = open_catalog(folder.catalog), read_cut(folder)
    levels = requested_config(folder, None, []).prompts.levels
    if as_json:
        found = audited(catalog, cut, lambda done, total: None, levels)
        return print_json({"findings": [asdict(each) for each in found]})
    with Terminal().bar("Read the images") as bar:
        found = audited(catalog, cut, bar.update, levels)
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
