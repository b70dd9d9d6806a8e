"""pure: printing of results: one JSON object, a table, or lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rich.console import Console

from qsit_ray.terminal import Terminal


def print_json(content: Mapping[str, object]) -> None:
    """Print one JSON object; raises ValueError for a number that is not finite."""
    print(json.dumps(content, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    # A narrow terminal wraps a line; rich would cut digits off.
    console = Console(width=max(Console().width, 110))
    Terminal(console).table(title, columns, [tuple(map(_cell, row)) for row in rows])


def print_reasons(reasons: Mapping[str, str], before: str = "") -> None:
    for name, why in reasons.items():
        say(f"{before}{name} is undefined: {why}")


def say(text: str) -> None:
    Terminal().say(text)


def _cell(value: object) -> str:
    if value is None:
        return "undefined"
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 5e-4 else f"{value:.4f}"
    if isinstance(value, tuple):
        return " to ".join(map(_cell, value))
    return str(value)
