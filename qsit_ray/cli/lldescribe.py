"""pure: `qsit evaluate lldescribe` and `rating-style`: each parses, calls one function, prints.

With --json stdout has one JSON object and nothing else; progress goes to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from qsit_ray.cli.options import Confidence, Json, Seed
from qsit_ray.cli.printing import print_json
from qsit_ray.errors import InputError
from qsit_ray.terminal import Bar, Terminal

if TYPE_CHECKING:
    from qsit_ray.evaluation.lldescribe.benchmark import Judged, Usage


def register(evaluate: typer.Typer) -> None:
    """Add both commands to the verb."""
    evaluate.command("lldescribe")(lldescribe)
    evaluate.command("rating-style")(rating_style)


def lldescribe(
    golden: Annotated[Path, typer.Option(help="Golden texts: img_path, description.")],
    descriptions: Annotated[Path, typer.Option(help="The model's: img_path, description.")],
    base_url: Annotated[
        str, typer.Option(envvar="QSIT_JUDGE_URL", help="Like https://host/v1.")
    ] = "",
    model: Annotated[str, typer.Option(envvar="QSIT_JUDGE_MODEL", help="The judge.")] = "",
    replies: Annotated[
        Path | None,
        typer.Option(help="The log of replies; in the folder of the descriptions by default."),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Judgements of an image and dimension.")] = 5,
    asks: Annotated[int, typer.Option(help="Replies taken for one with a score.")] = 3,
    attempts: Annotated[int, typer.Option(help="Calls made for one reply.")] = 8,
    timeout: Annotated[float, typer.Option(help="Of one call, seconds.")] = 120.0,
    concurrency: Annotated[int, typer.Option(help="Calls at the same time.")] = 4,
    prompt_price: Annotated[
        float | None, typer.Option(help="Of a million prompt tokens, in your currency.")
    ] = None,
    completion_price: Annotated[
        float | None, typer.Option(help="Of a million completion tokens.")
    ] = None,
    seed: Seed = 0,
    confidence: Confidence = 0.95,
    as_json: Json = False,
) -> None:
    """Have a judge compare descriptions with golden ones; resumes where it was stopped.

    A key, if the endpoint needs one, is read from the environment variable QSIT_JUDGE_KEY.
    """
    # Here, so that `qsit --help` loads no benchmark.
    from qsit_ray.endpoint import Endpoint
    from qsit_ray.evaluation.intervals import Bootstrap
    from qsit_ray.evaluation.lldescribe import benchmark
    from qsit_ray.evaluation.lldescribe.log import open_log

    if not base_url or not model:
        raise InputError("give --base-url and --model, or set QSIT_JUDGE_URL and QSIT_JUDGE_MODEL")
    endpoint = Endpoint("judge", base_url, model, timeout, attempts, asks, concurrency)
    if (prompt_price is None) != (completion_price is None):
        raise InputError("give both --prompt-price and --completion-price, or neither")
    prices = None
    if prompt_price is not None and completion_price is not None:
        prices = prompt_price, completion_price
    texts = benchmark.read_descriptions(golden), benchmark.read_descriptions(descriptions)
    log_path = replies or descriptions.with_name(f"{descriptions.stem}.replies.jsonl")
    with open_log(log_path) as log, ExitStack() as stack:
        bars: list[Bar] = []

        def progress(done: int, total: int, note: str) -> None:
            if not bars:  # not before the first reply: a mistake is reported in one line
                terminal = Terminal(Console(stderr=True))
                bars.append(stack.enter_context(terminal.bar(escape(f"judging with {model}"))))
            bars[0].update(done, total, note)

        result = benchmark.judge_descriptions(
            *texts,
            endpoint,
            log,
            rounds=rounds,
            prices=prices,
            bootstrap=Bootstrap(seed, confidence),
            progress=progress,
        )
    if as_json:
        print_json(result.to_json())
    else:
        _print_lldescribe(result, Terminal())
    if result.unanswered:
        first = next(iter(result.unanswered.values()))
        message = f"{len(result.unanswered)} judgements got no reply ({first})"
        print(f"qsit: {message}; the same command asks for these again", file=sys.stderr)
        raise typer.Exit(1)


def rating_style(
    answers: Annotated[Path, typer.Argument(help="Free answers: a table, or a JSON list.")],
    text: Annotated[str, typer.Option(help="The column of the text.")] = "answer",
    confidence: Confidence = 0.95,
    as_json: Json = False,
) -> None:
    """Shares of free answers that rate with qualitative adjectives and with numbers."""
    from qsit_ray.evaluation import rating_style as benchmark

    result = benchmark.rating_style(_read_texts(answers, text), confidence=confidence)
    if as_json:
        print_json(result.to_json())
        return
    terminal = Terminal()
    rows = [
        (style, str(result.counts[style]), *_share(result.share(style), result.intervals[style]))
        for style in benchmark.STYLES
    ]
    terminal.table(escape(f"Rating style of {answers}"), ["", "answers", "share", "interval"], rows)
    terminal.say(f"{result.rows} rows, {len(result.missing_rows)} without an answer")
    terminal.say(", ".join(f"{word} {count}" for word, count in result.words.items()))


def _read_texts(path: Path, column: str) -> list[str | None]:
    """The texts of a table or of a JSON list, in their order; None where a cell is empty.

    Raises InputError as `tables.read` and its `texts` do.
    """
    from qsit_ray import reading, tables

    if path.name.lower().removesuffix(".gz").endswith((".json", ".jsonl", ".ndjson")):
        value = reading.read_values(path)
        if isinstance(value, list) and not any(isinstance(item, dict) for item in value):
            return value
    return tables.read(path).texts(column)


def _print_lldescribe(result: Judged, terminal: Terminal) -> None:
    scores = result.scores
    rows = []
    for name, entry in scores.dimensions.items():
        shares = [_share(share, None)[0] for share in (entry.p0, entry.p1, entry.p2)]
        score = _share(entry.score, entry.interval)
        rows.append((name, *shares, *score, f"{entry.judgements}", f"{entry.invalid}"))
    rows.append(("sum", "", "", "", *_share(scores.sum, scores.sum_interval), "", ""))
    title = f"LLDescribe: {scores.images} images, {result.rounds} rounds, {result.endpoint.model}"
    columns = ["", "P0", "P1", "P2", "score", "interval", "valid", "invalid"]
    terminal.table(escape(title), columns, rows)
    for title, images in (
        ("without golden", result.without_golden),
        ("without description", result.without_description),
    ):
        if images:
            terminal.say(f"{title} ({len(images)}): {', '.join(images)}")
    run, all_runs = result.this_run, result.all_runs
    terminal.say(
        f"this run: {result.calls} calls, {result.calls_without_reply} of them without a reply, "
        f"{run.prompt_tokens} + {run.completion_tokens} tokens, price {_price(run)}; "
        f"all runs: {all_runs.replies} replies, price {_price(all_runs)}"
    )
    terminal.say(f"replies: {result.replies}")


def _price(usage: Usage) -> str:
    return "unknown" if usage.price is None else f"{usage.price:.4f}"


def _share(value: float | None, ends: Sequence[float] | None) -> tuple[str, str]:
    interval = "" if ends is None else f"{ends[0]:.3f}–{ends[1]:.3f}"
    return "undefined" if value is None else f"{value:.3f}", interval
