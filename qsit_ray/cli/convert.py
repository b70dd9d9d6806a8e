"""rim: `qsit data convert`: rows of D2 from what people wrote of images, or voted."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from qsit_ray.cli.options import Json, Seed, Worded, wording
from qsit_ray.cli.printing import print_json, print_table
from qsit_ray.errors import InputError
from qsit_ray.terminal import Bar, Terminal

Price = Annotated[float | None, typer.Option(help="Of a million tokens, in your currency.")]


def register(data: typer.Typer) -> None:
    """Add the group `convert` to the command group `data`."""
    group = typer.Typer(no_args_is_help=True, help="Rows of D2 from remarks on images.")
    group.command("pathway")(pathway)
    group.command("attributes")(attributes)
    data.add_typer(group, name="convert")


def pathway(
    feedbacks: Annotated[Path, typer.Argument(metavar="IN", help="Q-Pathway's .json or .jsonl.")],
    out: Annotated[Path, typer.Option(help="The folder to write, or to go on with.")],
    base_url: Annotated[
        str, typer.Option("--endpoint", envvar="QSIT_CONVERTER_URL", help="Like https://host/v1.")
    ],
    model: Annotated[str, typer.Option(envvar="QSIT_CONVERTER_MODEL", help="The model's name.")],
    conversations: Annotated[
        float, typer.Option(min=0, max=1, help="Share of feedbacks that get a conversation.")
    ] = 0.2,
    asks: Annotated[int, typer.Option(help="Replies taken for one that is valid.")] = 3,
    attempts: Annotated[int, typer.Option(help="Calls made for one reply.")] = 8,
    timeout: Annotated[float, typer.Option(help="Of one call, seconds.")] = 120.0,
    concurrency: Annotated[int, typer.Option(help="Calls at the same time.")] = 16,
    prompt_price: Price = None,
    completion_price: Price = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate calls, tokens and cost; ask nothing.")
    ] = False,
    seed: Seed = 0,
    worded: Worded = None,
    as_json: Json = False,
) -> None:
    """Have a language model make questions and conversations of feedbacks; resumes where it was
    stopped.

    A key, if the endpoint needs one, is read from the environment variable QSIT_CONVERTER_KEY.
    """
    from qsit_ray.data.pathway import asking, conversion, questions
    from qsit_ray.data.pathway import feedbacks as files
    from qsit_ray.data.pathway.replies import REJECTED, Replies
    from qsit_ray.endpoint import Endpoint

    form = wording(worded).choice
    endpoint = Endpoint("converter", base_url, model, timeout, attempts, asks, concurrency)
    if (prompt_price is None) != (completion_price is None):
        raise InputError("give both --prompt-price and --completion-price, or neither")

    def price_of(tokens: conversion.Estimate | conversion.Converted) -> float | None:
        if prompt_price is None or completion_price is None:
            return None
        return conversion.price(tokens, prompt_price, completion_price)

    found = files.read(feedbacks)
    if not found.feedbacks:
        place, reason = found.rejects[0] if found.rejects else ("it", "has no records")
        raise InputError(f"{feedbacks}: no feedback in it: {place}: {reason}")
    requests = questions.requests(found.feedbacks, conversations, seed)
    folder = out.absolute() / "replies"
    if dry_run:
        costs = conversion.estimate(requests, Replies(folder), endpoint)
        content = {"feedbacks": len(found.feedbacks), **asdict(costs), "price": price_of(costs)}
        return _print(content, as_json, f"{feedbacks}: an estimate; nothing was asked")
    with ExitStack() as stack:
        bars: list[Bar] = []

        def report(done: int, total: int) -> None:
            if not bars:  # not before the first figure: a mistake is reported in one line
                terminal = Terminal(Console(stderr=True))
                bars.append(stack.enter_context(terminal.bar(f"Ask {model}")))
            bars[0].update(done, total)

        unanswered = asking.ask(requests, endpoint, folder, report)
    converted = conversion.write(
        out, found, requests, Replies(folder), unanswered, model=model, seed=seed, form=form
    )
    content = {**asdict(converted), "price": price_of(converted), "out": str(out)}
    _print(content, as_json, f"{feedbacks} to {out}")
    if converted.unanswered:
        reasons = (each for each in unanswered.values() if not each.startswith(REJECTED))
        first = next(reasons)
        message = f"{converted.unanswered} requests got no reply ({first})"
        print(f"qsit: {message}; the same command asks for these again", file=sys.stderr)
        raise typer.Exit(1)


def attributes(
    table: Annotated[
        Path, typer.Argument(metavar="IN", help="A file of `data read spaq`, or KonIQ++'s table.")
    ],
    to: Annotated[Path, typer.Option(help="D2's records: .json or .jsonl.")],
    image: Annotated[str, typer.Option(help="Column of image paths of a foreign table.")] = "image",
    seed: Seed = 0,
    worded: Worded = None,
    as_json: Json = False,
) -> None:
    """Make questions of SPAQ's attributes or KonIQ++'s distortion votes, by rules."""
    from qsit_ray.data import attributes as rules
    from qsit_ray.data import scoring
    from qsit_ray.data.scoring import Made

    if to.suffix not in scoring.RECORDS:
        raise InputError(f"{to}: the ending must be .json or .jsonl")
    found = rules.convert(table, image, seed, wording(worded).choice)
    scoring.write(to, Made(found.rows))
    content = {
        "images": found.images,
        "unclear": found.unclear,
        "rows": len(found.rows),
        **found.kinds,
        "out": str(to),
    }
    _print(content, as_json, f"{table} to {to}")


def _print(content: dict[str, object], as_json: bool, title: str) -> None:
    if as_json:
        print_json(content)
    else:
        print_table(title, ("figure", "value"), list(content.items()))
