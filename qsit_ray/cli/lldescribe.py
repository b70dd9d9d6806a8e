"""pure: `qsit evaluate lldescribe` and `rating-style`: each parses, calls one function, prints.

With --json stdout holds one JSON object and nothing else; progress goes to stderr.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from qsit_ray.cli.options import Confidence, Json, Seed
from qsit_ray.cli.printing import print_json
from qsit_ray.errors import InputError
from qsit_ray.terminal import Bar, Terminal


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
        typer.Option(help="Where replies are kept; beside the descriptions if not given."),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Judgements of an image and dimension.")] = 5,
    asks: Annotated[int, typer.Option(help="Replies taken for one with a score in it.")] = 3,
    attempts: Annotated[int, typer.Option(help="Calls made for one reply.")] = 8,
    timeout: Annotated[float, typer.Option(help="Of one call, seconds.")] = 120.0,
    concurrency: Annotated[int, typer.Option(help="Calls under way at most.")] = 4,
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
    """Have a judge compare descriptions with golden ones; goes on where it was stopped.

    A key, if the endpoint wants one, is read from the environment variable QSIT_JUDGE_KEY.
    """
    # Here, so that `qsit --help` needs no HTTP library.
    from evaluation.lldescribe import benchmark
    from evaluation.lldescribe.judge import Endpoint, open_log

    if not base_url or not model:
        raise InputError("give --base-url and --model, or set QSIT_JUDGE_URL and QSIT_JUDGE_MODEL")
    endpoint = Endpoint(base_url, model, timeout, attempts, asks, concurrency)
    if prompt_price is None or completion_price is None:
        if prompt_price != completion_price:
            raise InputError("give both --prompt-price and --completion-price, or neither")
        prices = None
    else:
        prices = prompt_price, completion_price
    texts = benchmark.read_descriptions(golden), benchmark.read_descriptions(descriptions)
    kept = replies or descriptions.with_name(f"{descriptions.stem}.replies.jsonl")
    with open_log(kept) as log, ExitStack() as stack:
        bars: list[Bar] = []

        def progress(done: int, total: int, note: str) -> None:
            if not bars:  # not before the first reply: a mistake is told in one line
                terminal = Terminal(Console(stderr=True))
                bars.append(stack.enter_context(terminal.bar(escape(f"judging with {model}"))))
            # A server's words may look like the terminal's markup.
            bars[0].update(done, total, escape(note))

        result = benchmark.evaluate(
            *texts,
            endpoint,
            log,
            rounds=rounds,
            prices=prices,
            seed=seed,
            confidence=confidence,
            progress=progress,
        )
    result["replies"] = str(kept)
    if as_json:
        print_json(result)
    else:
        _print_lldescribe(result, Terminal())
    if result["unanswered"]:
        first = result["unanswered_judgements"][0]["reason"]
        what = f"{result['unanswered']} judgements got no reply ({first})"
        print(f"qsit: {what}; the same command asks for these again", file=sys.stderr)
        raise typer.Exit(1)


def rating_style(
    answers: Annotated[Path, typer.Argument(help="Free answers: a table, or a JSON list.")],
    text: Annotated[str, typer.Option(help="The column that holds the text.")] = "answer",
    confidence: Confidence = 0.95,
    as_json: Json = False,
) -> None:
    """How free answers rate: the share with qualitative adjectives and with numbers."""
    from evaluation import rating_style as benchmark

    result = benchmark.rating_style(read_texts(answers, text), confidence=confidence)
    if as_json:
        print_json(result)
        return
    terminal = Terminal()
    rows = [
        (style, str(result["counts"][style]), *_share(result[style], result["intervals"][style]))
        for style in benchmark.STYLES
    ]
    terminal.table(escape(f"Rating style of {answers}"), ["", "answers", "share", "interval"], rows)
    terminal.say(f"{result['rows']} rows, {result['missing']} without an answer")
    terminal.say(", ".join(f"{word} {count}" for word, count in result["words"].items()))


def read_texts(path: Path, column: str) -> list[str | None]:
    """A table's texts, or those of a JSON list of texts, in their order; None where there is none.

    Raises InputError as `tables.read` and its `texts` do.
    """
    from qsit_ray import tables

    if path.name.lower().removesuffix(".gz").endswith((".json", ".jsonl", ".ndjson")):
        value = tables.read_json(path)
        if isinstance(value, list) and not any(isinstance(item, dict) for item in value):
            return value
    return tables.read(path).texts(column)


def _print_lldescribe(result: dict[str, Any], terminal: Terminal) -> None:
    rows = []
    for name, entry in result["dimensions"].items():
        shares = [_share(entry[part], None)[0] for part in ("p0", "p1", "p2")]
        score = _share(entry["score"], entry["interval"])
        rows.append((name, *shares, *score, f"{entry['judgements']}", f"{entry['invalid']}"))
    rows.append(("sum", "", "", "", *_share(result["sum"], result["sum_interval"]), "", ""))
    terminal.table(
        escape(
            f"LLDescribe: {result['images']} images, {result['rounds']} rounds, {result['judge']}"
        ),
        ["", "P0", "P1", "P2", "score", "interval", "valid", "invalid"],
        rows,
    )
    missing = result["missing"]
    for what, images in missing.items():
        if images:
            terminal.say(f"{what.replace('_', ' ')} ({len(images)}): {', '.join(images)}")
    run, all_runs = result["cost"]["this_run"], result["cost"]["all_runs"]
    terminal.say(
        f"this run: {run['calls']} calls, {run['calls_without_reply']} of them without a reply, "
        f"{run['prompt_tokens']} + {run['completion_tokens']} tokens, price {_price(run)}; "
        f"all runs: {all_runs['replies']} replies, price {_price(all_runs)}"
    )
    terminal.say(f"replies: {result['replies']}")


def _price(cost: dict[str, Any]) -> str:
    return "unknown" if cost["price"] is None else f"{cost['price']:.4f}"


def _share(value: float | None, ends: list[float] | None) -> tuple[str, str]:
    interval = "" if ends is None else f"{ends[0]:.3f}–{ends[1]:.3f}"
    return "undefined" if value is None else f"{value:.3f}", interval
