"""pure: the report of a run: what its folder holds, as one self-contained HTML file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.files import read_yaml
from qsit_ray.mixture import AXES, DOMAINS
from qsit_ray.report import ledger, plots
from qsit_ray.report.searches import AXIS_TITLES, formatted, searched

MODELS = {
    "primary": "Primary, trained",
    "primary_untrained": "Primary, untrained",
    "proxy": "Final proxy",
}
DECISIONS = {"grow_scoring": "grow D1", "grow_interpreting": "grow D2 and D3", "hold": "hold"}


def build(run: RunFolder, config: Config) -> Path:
    """Write the run's report.html and ledger.json from what its folder holds; return the page.

    A stage that has not run yet is said in its place. Raises InputError naming a file that can't
    be read or lacks what its format asks for.
    """
    accounts = ledger.write(run, config.search.storage)
    mixture = _mixture(run)
    iqa = _iqa(run)
    questions = _questions(run)
    page = _template().render(
        name=run.path.resolve().name,
        folder=run.path,
        config=config,
        made_with=_made_with(run),
        labels="pseudo-MOS" if config.data.source == "demo" else "MOS",
        domains=plots.LABELS,
        mixture=mixture,
        given_mix=config.mix is not None,
        headline=_headline(iqa, questions),
        searches=[searched(run, config, axis) for axis in AXES if config.mix is None],
        training=_training(run, config),
        iqa=iqa,
        questions=questions,
        costs=_costs(accounts),
        files=_files(run),
    )
    artifacts.write_text(run.report, page)
    return run.report


def significant(value: float | None) -> str:
    """Three significant digits, written out: 0.0123, 2.42, 1,230."""
    if value is None:
        return "–"
    rounded = float(f"{value:.3g}")
    if rounded and not 1e-4 <= abs(rounded) < 1e7:
        return f"{value:.2e}"
    decimals = max(0, 2 - math.floor(math.log10(abs(rounded)))) if rounded else 0
    return _minus(f"{rounded:,.{decimals}f}")


def fixed(value: float | None) -> str:
    """A correlation or a share, three decimals."""
    return "–" if value is None else _minus(f"{value:.3f}")


def percent(value: float | None) -> str:
    return "–" if value is None else _minus(f"{100 * value:.1f}\u00a0%")


def _minus(text: str) -> str:
    return text.replace("-", "−", 1) if text.startswith("-") else text


def _template() -> Any:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "significant": significant,
        "fixed": fixed,
        "percent": percent,
        "count": lambda value: "–" if value is None else f"{value:,}",
    }
    return environment.from_string((files("qsit_ray.report") / "report.html").read_text("utf-8"))


def _made_with(run: RunFolder) -> dict[str, Any]:
    """Versions and git revision from config.yaml; empty where a run records none."""
    content = read_yaml(run.config) if run.config.exists() else None
    made_with = content.get("made_with") if isinstance(content, dict) else None
    made_with = made_with if isinstance(made_with, dict) else {}
    return {"versions": made_with.get("versions") or {}, "git": made_with.get("git")}


def _mixture(run: RunFolder) -> dict[str, Any] | None:
    if not run.mixture.exists():
        return None
    content = artifacts.read_json(run.mixture)
    with formatted(run.mixture):
        ratios = {domain: float(content[domain]) for domain in DOMAINS}
        total = sum(ratios.values())
        return {
            "ratios": ratios,
            "percents": {domain: 100 * ratio / total for domain, ratio in ratios.items()},
            "rows": {domain: content["rows"][domain] for domain in DOMAINS},
            "reference_loss_ratio": content["reference_loss_ratio"],
        }


def _training(run: RunFolder, config: Config) -> dict[str, Any] | None:
    epochs = artifacts.read_jsonl(run.epochs) if run.epochs.exists() else []
    if not epochs:
        return None
    with formatted(run.epochs):
        table = [
            {
                **line,
                "decision": DECISIONS[line["verdict"]],
                "exact": (line["rows_planned"], line["planned"])
                == (line["rows_trained"], line["consumed"]),
            }
            for line in epochs
        ]
        controller = config.train.controller
        tolerance = controller.tolerance if controller else 0.0
        return {
            "epochs": table,
            "planned_epochs": config.train.epochs,
            "exact": all(line["exact"] for line in table),
            "tolerance": tolerance,
            "loss_ratio": Markup(plots.loss_ratio(epochs, tolerance)),
            "sizes": Markup(plots.sizes(epochs)),
        }


def _iqa(run: RunFolder) -> list[dict[str, Any]] | None:
    """One table a dataset, a row a model."""
    path = run.evaluation / "iqa.json"
    if not path.exists():
        return None
    content = artifacts.read_json(path)
    with formatted(path):
        datasets = dict.fromkeys(name for scores in content.values() for name in scores)
        return [_iqa_table(content, dataset) for dataset in datasets]


def _iqa_table(content: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    tested = {
        model: content[model][dataset] for model in _ordered(content) if dataset in content[model]
    }
    ends = [
        end
        for scores in tested.values()
        for name in ("srcc", "plcc")
        for end in (scores[name], *((scores.get("intervals") or {}).get(name) or ()))
        if end is not None
    ]
    lowest = 0.0 if min(ends, default=0.0) >= 0 else -1.0
    return {
        "dataset": dataset,
        "scale": "0 to 1" if lowest == 0 else "−1 to 1, 0 dashed",
        "zero": None if lowest == 0 else 50.0,
        "models": [
            {
                "model": MODELS.get(model, model),
                "key": model,
                "rows": scores.get("rows"),
                "srcc": _metric(scores, "srcc", lowest),
                "plcc": _metric(scores, "plcc", lowest),
            }
            for model, scores in tested.items()
        ],
    }


def _questions(run: RunFolder) -> dict[str, Any] | None:
    """Question accuracy: overall a row a model; by type and by concern a column a model."""
    path = run.evaluation / "llvisionqa.json"
    if not path.exists():
        return None
    content = artifacts.read_json(path)
    with formatted(path):
        order = _ordered(content)
        overall = [
            {
                "model": MODELS.get(model, model),
                "key": model,
                "accuracy": _metric(content[model], "accuracy", 0.0),
                **{
                    name: content[model].get(name)
                    for name in ("random_guess", "missing", "unparsable", "rows")
                },
            }
            for model in order
        ]
        breakdowns = [
            {"title": title, "rows": _breakdown([content[model][key] for model in order])}
            for title, key in (("Question type", "by_type"), ("Concern", "by_concern"))
        ]
        return {"models": overall, "breakdowns": [table for table in breakdowns if table["rows"]]}


def _breakdown(columns: Sequence[Mapping[str, float | None]]) -> list[dict[str, Any]]:
    """A row a group of questions with each model's accuracy; null for a group without any."""
    groups = dict.fromkeys(group for column in columns for group in column)
    return [
        {"group": group, "accuracies": [column.get(group) for column in columns]}
        for group in groups
    ]


def _metric(scores: Mapping[str, Any], name: str, lowest: float) -> dict[str, Any]:
    """A metric with its interval, and both placed on a scale from `lowest` to 1 (in per cent)."""
    value = scores[name]
    interval = (scores.get("intervals") or {}).get(name) or (
        scores.get("interval") if name == "accuracy" else None
    )

    def place(x: float) -> float:
        return round(100 * (min(max(x, lowest), 1.0) - lowest) / (1 - lowest), 2)

    reasons = scores.get("reasons") or {}
    return {
        "value": value,
        "interval": interval,
        "reason": reasons.get(name) or scores.get("reason") or "undefined",
        "at": None if value is None else place(value),
        "span": [place(end) for end in interval] if interval else None,
    }


def _ordered(content: Mapping[str, Any]) -> list[str]:
    """Models in the order of `MODELS`, then any other."""
    return [m for m in MODELS if m in content] + [m for m in content if m not in MODELS]


def _headline(
    iqa: Sequence[dict[str, Any]] | None, questions: dict[str, Any] | None
) -> dict[str, Any]:
    """The primary's figures, trained and untrained, for the sentence on top."""
    figures: dict[str, Any] = {"iqa": None, "questions": None}
    for table in (iqa or [])[:1]:
        models = {row["key"]: row for row in table["models"]}
        figures["iqa"] = {"dataset": table["dataset"], **models} if "primary" in models else None
    if questions:
        models = {row["key"]: row for row in questions["models"]}
        figures["questions"] = models if "primary" in models else None
    return figures


def _costs(accounts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The ledger in one unit of time, with each stage's share of the device time."""
    stages = accounts["stages"]
    if not stages:
        return None
    total = accounts["device_seconds"]
    wall = sum(cost["wall_seconds"] for cost in stages.values())
    most = max(total, wall)
    unit, seconds = ("h", 3600) if most >= 36000 else ("min", 60) if most >= 600 else ("s", 1)
    return {
        "unit": unit,
        "wall": wall / seconds,
        "device": total / seconds,
        "stages": [
            {
                "stage": name,
                "wall": cost["wall_seconds"] / seconds,
                "device": cost["device_seconds"] / seconds,
                "share": cost["device_seconds"] / total if total else 0.0,
            }
            for name, cost in stages.items()
        ],
        "trials": [
            {
                "search": AXIS_TITLES.get(name, "final proxies"),
                "completed": trials["completed"],
                "failed": trials["failed"],
                "device": trials["device_seconds"] / seconds,
                "each": trials["device_seconds"] / max(1, trials["completed"]),
            }
            for name, trials in accounts["trials"].items()
        ],
    }


def _files(run: RunFolder) -> list[dict[str, Any]]:
    """What lies where, relative to the page, which stands in the run folder."""
    places = [
        (run.config, "configuration as resolved, versions, git revision"),
        (run.catalog, "training rows, validation rows, benchmarks"),
        *(
            (path, f"{what} {AXIS_TITLES[axis]}")
            for axis in AXES
            for path, what in (
                (run.trials(axis).with_suffix(".csv"), "trials of"),
                (run.fit(axis), "fit of"),
            )
        ),
        (run.mixture, "the mixture and λ"),
        (run.proxy_model, "the best final proxy"),
        (run.epochs, "one line an epoch"),
        (run.model, "the trained primary"),
        (run.evaluation, "metrics and predictions"),
        (run.ledger, "cost"),
        (run.log, "what the libraries printed"),
    ]
    return [
        {
            "path": str(path.relative_to(run.path)) + ("/" if path.is_dir() else ""),
            "what": what,
            "exists": path.exists(),
        }
        for path, what in places
    ]
