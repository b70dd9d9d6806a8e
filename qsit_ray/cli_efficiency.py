"""pure: `qsit evaluate efficiency`: parses, calls one function, prints.

With --json stdout holds one JSON object and nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from qsit_ray.errors import InputError
from qsit_ray.terminal import Terminal


def register(evaluate: typer.Typer) -> None:
    """Add the command to the verb."""
    evaluate.command("efficiency")(efficiency)


def efficiency(
    model: Annotated[
        str,
        typer.Argument(
            help="A checkpoint's folder or Hub name; or 0.5b or 7b: LLaVA-OneVision of that size "
            "without weights, FLOPs and parameters only."
        ),
    ],
    image: Annotated[
        Path | None, typer.Option(help="The image; noise of 768 x 1024 pixels if not given.")
    ] = None,
    profile: Annotated[str, typer.Option(help="paper or official.")] = "paper",
    answer_tokens: Annotated[int, typer.Option(help="Tokens generated in answering.")] = 32,
    repeats: Annotated[int, typer.Option(help="Timed runs, after two others.")] = 10,
    device: Annotated[
        str, typer.Option(help="cpu or cuda; cuda where there is one if not given.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What scoring and answering cost: latency, peak memory, FLOPs, parameters."""
    from qsit_ray.models.profiles import profile_named

    asked = profile_named(profile)
    if image is not None and not image.is_file():
        raise InputError(f"{image}: image file is missing")

    import torch

    from evaluation import efficiency as benchmark
    from qsit_ray.models.architectures import TEXT_MODELS

    if model in TEXT_MODELS:
        size = benchmark.KONIQ_SIZE if image is None else image_size(image)
        result = benchmark.measure_architecture(model, asked, size, answer_tokens)
    else:
        from qsit_ray.models.load import load

        if device not in ("", "cpu", "cuda") or (
            device == "cuda" and not torch.cuda.is_available()
        ):
            there = "cpu or cuda" if torch.cuda.is_available() else "cpu; no CUDA device is here"
            raise InputError(f"device {device!r}: it must be {there}")
        checkpoint = load(model, dtype="auto")
        checkpoint.model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        result = benchmark.measure(
            checkpoint, asked, image, answer_tokens=answer_tokens, repeats=repeats
        )
    if as_json:
        print(json.dumps(result, allow_nan=False))
    else:
        _print(result, Terminal())


def image_size(file: Path) -> tuple[int, int]:
    """Height and width of an image file. Raises InputError where it is none."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as opened:
            return opened.height, opened.width
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise InputError(f"{file}: not a readable image ({error})") from None


def _print(result: dict[str, Any], terminal: Terminal) -> None:
    shown, latency, memory = (
        result[key] for key in ("image", "latency_seconds", "peak_memory_bytes")
    )
    where = f" on {result['device']}, {result['dtype']}" if result["device"] else ""
    columns = ["", "prompt tokens", "GFLOPs", "to analytic"]
    columns += ["median s", "p90 s", "peak MiB"] if latency else []
    rows = []
    for work, flops in result["flops"].items():
        row = [work, str(result["prompt_tokens"][work])]
        row += [f"{flops['counted'] / 1e9:,.2f}", f"{flops['ratio']:.4f}"]
        if latency:
            row += [f"{latency[work][key]:.3f}" for key in ("median", "p90")]
            row.append(f"{memory[work] / 2**20:.0f}")
        rows.append(row)
    title = f"{result['model']}{where}, profile {result['profile']}"
    terminal.table(escape(title), columns, rows)
    terminal.say(
        f"one image of {shown['height']} x {shown['width']} pixels: {shown['tiles']} tiles, "
        f"{shown['tokens']} tokens; an answer is {result['answer_tokens']} tokens"
    )
    counts = result["parameters"].items()
    terminal.say("parameters: " + ", ".join(f"{part} {number:,}" for part, number in counts))
    if latency:
        terminal.say(f"preprocessing: {latency['preprocessing']['median']:.3f} s (median)")
        terminal.say(f"memory: {memory['of']}")
    for reason in dict.fromkeys(result["reasons"].values()):
        terminal.say(reason)
