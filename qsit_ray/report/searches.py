"""pure: files of a run folder that are not as their format has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.errors import InputError
from qsit_ray.mixture import ratios_at
from qsit_ray.report import plots
from qsit_ray.search.trials import read_trials
from qsit_ray.surrogate.comparison import Comparison


@contextmanager
def formatted(path: Path) -> Iterator[None]:
    """Turn a lack in the content of `path` into an InputError that names it."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        what = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: not as the run folder's format has it: {what}") from None


AXIS_TITLES = {"interpreting_general": "D2 : D3", "interpreting_scoring": "(D2 + D3) : D1"}
SCORES = {
    "interpreting": "Accuracy on validation questions",
    "both": "Mean of accuracy and (SRCC + PLCC) / 2, validation",
}
RIVALS_SHOWN = 5


def searched(run: RunFolder, config: Config, axis: str) -> dict[str, Any]:
    """One search: its plot and what the fit says; `trials` is None before it has run."""
    space = config.space(axis)
    found: dict[str, Any] = {
        "axis": axis,
        "title": AXIS_TITLES[axis],
        "score": SCORES[space.objective],
        "trials": None,
        "fit": None,
    }
    if not run.trials(axis).exists():
        return found
    with formatted(run.trials(axis)):
        rows = read_trials(run.trials(axis))
        fitted = _read_fit(run, axis)
        failed = [row for row in rows if row["status"] != "completed"]
        found |= {
            "trials": len(rows),
            "scored": sum(row["score"] is not None for row in rows),
            "seeds": len({row["seed"] for row in rows}),
            "failed": len(failed),
            "reasons": sorted({str(row["reason"] or "no reason given") for row in failed}),
            "plot": Markup(
                plots.curve(rows, fitted, found["title"], found["score"], _shares(run, axis))
            ),
        }
    if fitted is not None:
        found |= {"fit": fitted.fit, "verdict": fitted.verdict, "curves": _curves(fitted)}
    return found


def _curves(fitted: Comparison) -> list[dict[str, Any]]:
    """Rows of a table: the curves that were worked out, the used one first, and the rivals that
    foretell best; `fit` is None for a rival that was only tried."""
    rivals = [name for name, error in fitted.rivals.items() if error is not None]
    rivals.sort(key=lambda name: fitted.rivals[name] or 0.0)
    # The constant belongs to the picture wherever it ranks.
    shown = [fitted.used, fitted.recommended, *fitted.curves, *rivals[:RIVALS_SHOWN], "constant"]
    marks = {fitted.recommended: "recommended", fitted.used: "used"}
    if fitted.used == fitted.recommended:
        marks = {fitted.used: "used, recommended"}
    return [
        {
            "name": name,
            "mark": marks.get(name),
            "used": name == fitted.used,
            "fit": fitted.curves.get(name),
            "error": fitted.rivals.get(name),
        }
        for name in dict.fromkeys(shown)
    ]


def _read_fit(run: RunFolder, axis: str) -> Comparison | None:
    if not run.fit(axis).exists():
        return None
    with formatted(run.fit(axis)):
        return Comparison.from_json(artifacts.read_json(run.fit(axis)))


def _shares(run: RunFolder, axis: str) -> plots.Shares | None:
    """Rows of each domain at a ratio of `axis`; None where the first axis has no fit yet."""
    if axis == "interpreting_general":
        return lambda ratio: {"interpreting": ratio, "general": 1.0}
    first = _read_fit(run, "interpreting_general")
    return partial(ratios_at, first.fit.optimum) if first else None
