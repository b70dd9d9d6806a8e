"""pure: the templates of the reports' pages, with their number formats."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from qsit_ray.evaluation.iqa import IqaResult
from qsit_ray.report import formats, names, summary
from qsit_ray.run_files import EpochLine


def template(name: str, filters: Mapping[str, Callable[..., Any]] | None = None) -> Template:
    """A page's template. Styles and script go into it as they are."""
    environment = Environment(
        loader=FunctionLoader(_text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "significant": formats.significant,
        "fixed": formats.fixed,
        "signed": formats.signed,
        "percent": formats.percent,
        "points": formats.points,
        "count": formats.count,
        "p": formats.p_value,
        "duration": summary.duration,
        "is_exact": is_exact,
        "decision": names.decision,
        "loss": names.loss,
        "mixed": mixed,
        "lowest": lowest,
        "place": place,
        "groups": groups,
        **(filters or {}),
    }
    script = _text("page.js").strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals |= {
        "style": Markup(style("page.css")),
        "script": Markup(script),
        # The page runs this script and no other, whatever a name in it may hold.
        "script_hash": f"sha256-{digest}",
    }
    return environment.get_template(name)


def style(name: str = "") -> str:
    """The style of every page, and a page's own behind it."""
    return _text("base.css") + (_text(name) if name else "")


def _text(name: str) -> str:
    return (files("qsit_ray.report") / name).read_text("utf-8")


def mixed(ratios: Mapping[str, float]) -> str:
    """The ratios of the pools, the first as it is."""
    first, *others = ratios.values()
    return " : ".join([f"{first:g}", *map(formats.significant, others)])


def is_exact(line: EpochLine) -> bool:
    """True where the epoch trained exactly its plan."""
    return (line.rows_planned, line.planned) == (line.rows_trained, line.consumed)


def lowest(results: Iterable[IqaResult]) -> float:
    """The lower end of the scale of a table of correlations: 0, or -1 where one is negative."""
    ends = [
        end
        for result in results
        for value, name in ((result.srcc, "srcc"), (result.plcc, "plcc"))
        for end in (value, *(result.intervals.get(name) or ()))
        if end is not None
    ]
    return 0.0 if min(ends, default=0.0) >= 0 else -1.0


def place(value: float, low: float) -> float:
    """The place of a value on a scale from `low` to 1, in per cent."""
    return round(100 * (min(max(value, low), 1.0) - low) / (1 - low), 2)


def groups(columns: Iterable[Mapping[str, float | None]]) -> list[str]:
    """The groups of questions in a breakdown of each model, once each."""
    return list(dict.fromkeys(group for column in columns for group in column))
