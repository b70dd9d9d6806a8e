"""pure: the results of the suite as JSON files, and as one table of a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Check, Curve, Figure, Found, Goal, Spread
from benchmarks.machine import Machine
from qsit_ray import artifacts
from qsit_ray.evaluation.studies.sections import table, write_section

SECTION = "benchmarks"
COLUMNS = ("question", "rival", "ours", "rival's", "figure [least, most]", "goal", "met")


@dataclass(frozen=True)
class Result:
    """One question's file: what was found, when, on which machine and in how many seconds."""

    question: str
    date: str
    seconds: float
    machine: Machine
    found: Found

    def write(self, folder: Path) -> None:
        """Write NAME.json below `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_rounded(asdict(self)), indent=1, ensure_ascii=False)
        artifacts.write_text(folder / f"{self.question}.json", f"{text}\n")

    @classmethod
    def read(cls, path: Path) -> Result:
        content = artifacts.read_json(path)
        found = content["found"]
        return cls(
            content["question"],
            content["date"],
            content["seconds"],
            Machine(**content["machine"]),
            Found(
                [_figure(each) for each in found["figures"]],
                [Check(**each) for each in found["checks"]],
                found["conditions"],
                found["missing"],
                found.get("curve") and _curve(found["curve"]),
            ),
        )


def write_table(page: Path, folder: Path, questions: Mapping[str, str]) -> None:
    """Replace the page's section by the table of all questions, {name: text}, whose results are in
    `folder`; the others are not measured."""
    known = {path.stem: Result.read(path) for path in sorted(folder.glob("*.json"))}
    rows = [line for name, text in questions.items() for line in _lines(text, known.get(name))]
    write_section(page, SECTION, *_conditions(known.values()), table(COLUMNS, rows))


def _conditions(results: Any) -> Iterator[str]:
    """Where the results are from: a line for each machine, with its dates and how busy it was."""
    of: dict[str, list[Result]] = {}
    for result in results:
        of.setdefault(str(result.machine), []).append(result)
    for machine, found in of.items():
        days = " and ".join(sorted({result.date for result in found}))
        names = f" ({', '.join(r.question for r in found)})" if len(of) > 1 else ""
        yield f"By `make bench`, {days}{names}: {machine}."
        if unknown := [r.question for r in found if r.machine.busy is None]:
            yield f"How busy it was with other work was not measured for {', '.join(unknown)}."
        busy = [f"{r.question} {r.machine.busy:g}" for r in found if r.machine.is_busy]
        if busy:
            yield f"Other work used some cores when these began: {', '.join(busy)}."


def _lines(text: str, result: Result | None) -> Iterator[Sequence[str]]:
    if result is None or not result.found.figures:
        missing = result.found.missing if result else None
        yield [text, "", "", "", "not measured" + (f": {missing}" if missing else ""), "", ""]
        return
    for figure in result.found.figures:
        met = {True: "yes", False: "no", None: ""}[figure.is_met]
        sides = [_side(side, figure.of) for side in (figure.ours, figure.theirs)]
        goal = "" if figure.goal is None else str(figure.goal)
        yield [figure.what, figure.rival or "", *sides, _value(figure), goal, met]


def _side(spread: Spread | None, unit: str) -> str:
    return "" if spread is None else f"{number(spread.median)} {unit}"


def _value(figure: Figure) -> str:
    value, unit = figure.value, figure.unit
    unit = unit if unit == "×" else f" {unit}" if unit else ""
    text = f"{number(value.median)}{unit}"
    if value.low == value.high:
        return text
    return f"{text} [{number(value.low)}, {number(value.high)}]"


def number(value: float) -> str:
    """Three digits that count; all of the whole part."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 1 or size == 0 else f"{value:.3g}"


def _figure(content: dict[str, Any]) -> Figure:
    spreads = {key: content[key] and Spread(**content[key]) for key in ("value", "ours", "theirs")}
    goal = content["goal"] and Goal(**content["goal"])
    return Figure(**{**content, **spreads, "goal": goal})


def _curve(content: dict[str, Any]) -> Curve:
    points = {name: [(x, y) for x, y in line] for name, line in content["lines"].items()}
    return Curve(**{**content, "lines": points})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
