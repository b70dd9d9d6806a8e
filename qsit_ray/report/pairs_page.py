"""pure: two folders compared, as one self-contained HTML file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from qsit_ray.evaluation.differences import PairedDifference
from qsit_ray.evaluation.intervals import DEFAULT, RESAMPLES
from qsit_ray.rating.pairs import ScoredPair
from qsit_ray.rating.results import Reject
from qsit_ray.report import score_plots
from qsit_ray.report.formats import fixed, percent, signed
from qsit_ray.report.templates import style
from qsit_ray.report.thumbnails import thumbnail

SIDE = 200
"""Pixels of a thumbnail's longer side."""
MOST_REJECTS = 200


@dataclass(frozen=True)
class Compared:
    """What a page shows. `folders`: names of A and B; `conditions`: what the scores depend on;
    `found`: over all `scored` pairs."""

    folders: tuple[str, str]
    conditions: Mapping[str, Any]
    found: PairedDifference
    scored: Sequence[ScoredPair]
    worst: Sequence[ScoredPair]
    best: Sequence[ScoredPair]
    rejects: Sequence[Reject]


def render(compared: Compared) -> str:
    """The page."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters: dict[str, Callable[..., Any]] = {
        "plain": plain,
        "signed": signed,
        "p": p_text,
        "percent": percent,
        "count": lambda value: f"{value:,}",
        "thumbnail": lambda path: thumbnail(path, SIDE),
        "unbroken": unbroken,
    }
    environment.filters |= filters
    text = (files("qsit_ray.report") / "pairs.html").read_text("utf-8")
    return environment.from_string(text).render(
        base=Markup(style()),
        compared=compared,
        found=compared.found,
        sentence=sentence(compared.found, compared.conditions["score_range"]),
        histogram=Markup(score_plots.differences([x.difference for x in compared.scored], "B − A")),
        most_rejects=MOST_REJECTS,
        resamples=RESAMPLES,
        confidence=100 * DEFAULT.confidence,
    )


def sentence(found: PairedDifference, score_range: Sequence[float]) -> str:
    """The result in one sentence: whether B is lower or higher than A, by how much."""
    low, high = score_range
    behind = f"on a scale from {low:g} to {high:g}"
    change = f"B − A = {_with_interval(found, 1)} {behind}"
    if found.p_value is None:
        return f"{change}; n = {found.pairs:,}, without a p-value: {found.reason}."
    ending = f"p = {p_text(found.p_value)}, n = {found.pairs:,}"
    if found.p_value > 1 - DEFAULT.confidence:
        return f"No significant difference: {change}; {ending}."
    word, sign = ("lower", -1) if found.difference < 0 else ("higher", 1)
    return f"B is {word} than A by {_with_interval(found, sign)} {behind}; {ending}."


def unbroken(text: str) -> str:
    """Without line breaks within `B − A`, within `p = 0.02` and within an interval."""
    return re.sub(r" (?=[=−])|(?<=[=−]) |(?<=,) (?=\S+\])", "\xa0", text)


def p_text(value: float | None) -> str:
    """Two significant digits."""
    return "–" if value is None else f"{value:#.2g}"


def plain(value: float) -> str:
    """Three decimals, no sign at 0."""
    return fixed(round(value, 3) + 0.0)


def _with_interval(found: PairedDifference, sign: int) -> str:
    size = plain(sign * found.difference)
    if found.interval is None:
        return size
    low, high = sorted(sign * end for end in found.interval)
    return f"{size} [{plain(low)}, {plain(high)}]"
