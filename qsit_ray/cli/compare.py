"""rim: the verb compare: the scores of two folders of the same images."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.console import Console

from qsit_ray import artifacts
from qsit_ray.cli.options import Json
from qsit_ray.cli.printing import print_json, print_table
from qsit_ray.cli.rating import (
    BatchTokens,
    Model,
    Precision,
    Profile,
    loaded,
    printed,
    refuse,
    watched,
)
from qsit_ray.terminal import Terminal

if TYPE_CHECKING:
    from qsit_ray.evaluation.differences import PairedDifference
    from qsit_ray.rating.pairs import ScoredPair
    from qsit_ray.rating.results import Reject
    from qsit_ray.report.pairs_page import Compared

MOST_CASES = 24
"""Four thumbnails each: a page of so many stays below 5 MB."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(compare)


def compare(
    dir_a: Annotated[Path, typer.Argument(metavar="DIR_A", help="A folder of images.")],
    dir_b: Annotated[Path, typer.Argument(metavar="DIR_B", help="Images of the same names.")],
    model: Model,
    profile: Profile = None,
    out: Annotated[Path | None, typer.Option(help="A page to write: .html.")] = None,
    cases: Annotated[
        int, typer.Option(min=1, max=MOST_CASES, help="Worst cases that are shown, and best.")
    ] = 12,
    precision: Precision = None,
    batch_tokens: BatchTokens = None,
    as_json: Json = False,
) -> None:
    """Compare two folders' scores, before and after a codec, say: a table on a terminal, csv
    elsewhere.

    Images pair by their paths in the folders; endings may differ. An image without a partner or
    that can't be read is named at the end, with exit status 2; the other pairs are compared.
    """
    from qsit_ray.evaluation.differences import paired_difference
    from qsit_ray.rating import outputs, pairs
    from qsit_ray.rating.pictures import name_of
    from qsit_ray.rating.results import Reject
    from qsit_ray.report import pairs_page

    if out is not None:
        outputs.check_name(out, [".html"])
    pairing = pairs.paired(dir_a, dir_b)
    sources = pairs.sources(pairing.pairs)
    rater = loaded(model, profile, precision, batch_tokens)
    scores = watched(rater.scores(sources), len(sources))
    coming = pairs.scored(pairing.pairs, scores, rater.profile)
    with ExitStack() as files:
        if out is not None:
            table = outputs.beside(out, "pairs.csv")
            coming = _as_csv(coming, files.enter_context(table.open("w", buffering=1, newline="")))
        elif not as_json and not sys.stdout.isatty():
            coming = _as_csv(coming, sys.stdout)
        found = list(coming)
    scored = [each for each in found if not isinstance(each, Reject)]
    rejects = [*pairing.rejects, *(each for each in found if isinstance(each, Reject))]
    total = f"{len(scored) + len(rejects)} names"
    folders = name_of(dir_a, 0), name_of(dir_b, 0)
    if not scored:
        if as_json:
            _print_json(rater.conditions, folders, None, [], [], [], rejects)
        return refuse(rejects, total)
    rounding = pairs.rounding_of(rater.profile)
    compared = pairs_page.Compared(
        folders=folders,
        conditions=rater.conditions,
        found=paired_difference(
            [each.score_a for each in scored], [each.score_b for each in scored], rounding
        ),
        scored=scored,
        worst=pairs.worst(scored, cases, rounding),
        best=pairs.best(scored, cases, rounding),
        rejects=rejects,
    )
    if out is not None:
        artifacts.write_text(out, pairs_page.render(compared))
    if as_json:
        worst, best = compared.worst, compared.best
        _print_json(compared.conditions, folders, compared.found, scored, worst, best, rejects)
    else:
        if out is None and sys.stdout.isatty():
            _print_tables(compared)
        terminal = Terminal(Console(stderr=True))
        terminal.say(pairs_page.sentence(compared.found, rater.profile.score_range))
        if out is not None:
            terminal.say(f"page: {out}; every pair: {table}")
    refuse(rejects, total)


def _print_json(
    conditions: Mapping[str, Any],
    folders: tuple[str, str],
    found: PairedDifference | None,
    scored: Sequence[ScoredPair],
    worst: Sequence[ScoredPair],
    best: Sequence[ScoredPair],
    rejects: Sequence[Reject],
) -> None:
    """One document; `found` is None where no pair has scores."""
    print_json(
        {
            "conditions": conditions,
            "folders": folders,
            "comparison": found and asdict(found),
            "pairs": [each.to_row() for each in scored],
            "worst": [each.pair.name for each in worst],
            "best": [each.pair.name for each in best],
            "rejects": [asdict(each) for each in rejects],
        }
    )


def _as_csv(found: Iterator[ScoredPair | Reject], file: TextIO) -> Iterator[ScoredPair | Reject]:
    """The same; each pair is written as it comes."""
    from qsit_ray.rating.pairs import COLUMNS

    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    return printed(found, writer)


def _print_tables(compared: Compared) -> None:
    found = compared.found
    low, high = compared.conditions["score_range"]
    rows = [
        ("pairs", found.pairs, ""),
        ("mean of A", found.mean_a, ""),
        ("mean of B", found.mean_b, ""),
        ("mean of B - A", found.difference, found.interval or ""),
        ("p-value", found.p_value, found.reason or ""),
        ("share of pairs, B lower", found.share_worse, ""),
        ("share of pairs, B higher", found.share_better, ""),
        ("share of pairs, the same", found.share_equal, ""),
    ]
    print_table(f"Scores, {low:g} to {high:g}", ["B against A", "value", "95 % interval"], rows)
    for title, cases in (("Largest drops", compared.worst), ("Largest rises", compared.best)):
        if cases:
            shown = [
                (each.pair.name, each.score_a, each.score_b, each.difference) for each in cases
            ]
            print_table(title, ["pair", "A", "B", "B - A"], shown)
