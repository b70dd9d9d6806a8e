"""pure: the report of a run as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from markupsafe import Markup

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.files import read_yaml
from qsit_ray.data.catalog import Question
from qsit_ray.evaluation.intervals import Bootstrap
from qsit_ray.losses import symbol
from qsit_ray.report import (
    ablations,
    decisions,
    examples,
    kept,
    ledger,
    names,
    paired,
    predictions,
    score_plots,
    summary,
    training_plots,
)
from qsit_ray.report.contents import contents
from qsit_ray.report.predictions import Predictions
from qsit_ray.report.recipe import recipe
from qsit_ray.report.results import MODELS, Results, radar_values, results
from qsit_ray.report.scatters import scatters
from qsit_ray.report.searches import search_view
from qsit_ray.report.templates import template
from qsit_ray.report.tradeoff import tradeoff
from qsit_ray.run_files import FoundMix, read_epochs
from qsit_ray.search.records import FINAL_PROXIES
from qsit_ray.search.trials import TrialOutcome, read_trials
from qsit_ray.step_lines import Rates, StepLine, StepLog

PAIRS = (("primary", "primary_untrained"), ("primary", "proxy"))
LEAST_AXES = 3
"""Axes of a radar: fewer have no area."""


def build(run: RunFolder, config: Config) -> Path:
    """Write the run's report.html and ledger.json from the files of its folder; return the page.

    The page names the command of each stage that has not run yet. Raises InputError naming a file
    that can't be read or is not in its format.
    """
    costs = ledger.write(run, config)
    content = read_yaml(run.config) if run.config.exists() else None
    content = content if isinstance(content, dict) else {}
    epochs = read_epochs(run.epochs)
    searches = [search_view(run, config, axis.name) for axis in config.searches]
    found, predicted = results(run), predictions.read(run, config.data.source)
    bootstrap = Bootstrap(config.seed, config.evaluate.confidence)
    tests = paired.paired_tests(predicted, PAIRS, bootstrap)
    held = contents(run)
    trained_on = list(held.datasets.get("scoring", {})) if held else []
    titles = names.titles(config)
    weighed = tradeoff(_trials(run, titles), {**titles, FINAL_PROXIES: "final proxies"})
    lines = StepLog(run.steps).lines()
    own = predicted.get("primary", Predictions((), ()))
    labels = "pseudo-MOS" if config.data.source == "demo" else "MOS"
    shown = examples.example_images(own.images, run.catalog)
    corners, values = radar_values(found)
    is_papers = config.has_benchmarks and config.search.rehearsal is None
    page = template("report.html", {"paper_share": summary.paper_share}).render(
        name=run.path.resolve().name,
        folder=run.path,
        config=config,
        made_with=content.get("made_with") or {},
        labels=labels,
        domains=names.labels(config.pools),
        blend=names.blend(config.pools),
        loss_ratio=" / ".join(map(symbol, config.tasks)),
        models={**MODELS, "random guess": "Random guess"},
        axis_titles=titles,
        mixture=FoundMix.read(run.mixture) if run.mixture.exists() else None,
        searches=searches,
        flat=any(search.fitted is not None and search.fitted.fit.flat for search in searches),
        tradeoff=weighed,
        tradeoff_plot=Markup(score_plots.tradeoff(weighed)) if weighed else None,
        epochs=epochs,
        story=SimpleNamespace(summary=decisions.summary(epochs), told=decisions.told(epochs)),
        loss_ratios=Markup(training_plots.loss_ratio(epochs)) if epochs else None,
        sizes=Markup(training_plots.sizes(epochs)) if epochs else None,
        steps=Markup(training_plots.steps(lines)) if lines else None,
        step_count=len(lines),
        most_points=training_plots.MOST_POINTS,
        rates=_rates(lines),
        results=found,
        scored=_scored(found),
        answered=found.answers if "primary" in found.answers else None,
        table_iv=found.table_iv(trained_on),
        trained_on=[name for name in trained_on if name in found.iqa],
        table_v=found.table_v(_questions(run)),
        tests=tests,
        radar=Markup(score_plots.radar(corners, values)) if len(corners) >= LEAST_AXES else None,
        scatters=scatters(predicted, labels, bootstrap),
        efficiency=kept.efficiency(run),
        described=kept.lldescribe(run),
        examples=shown,
        levels=config.prompts.levels,
        has_levels=any(each.image.level_shares for _, group in shown for each in group),
        questions=examples.example_questions(own.questions, run.catalog),
        ablations=_ablations(run),
        ablation_columns=ablations.COLUMNS,
        facts=summary.facts(tests, costs, searches, is_papers),
        costs=costs,
        against_paper=summary.against_paper(costs) if is_papers else None,
        unit=_unit(costs),
        contents=held,
        recipe=recipe(run, config, content, epochs),
        files=_files(run, titles),
        sections=_sections(
            evaluation=config.has_benchmarks,
            examples=bool(own.images or own.questions),
            data=held is not None,
        ),
    )
    artifacts.write_text(run.report, page)
    return run.report


def _sections(**present: bool) -> list[tuple[str, str]]:
    """Of the page that it leads to: id and title. `present`: whether the page has a section, True
    of those that are not named."""
    every = {
        "search": "Search",
        "training": "Training",
        "evaluation": "Evaluation",
        "examples": "Examples",
        "cost": "Cost",
        "data": "Data",
        "again": "The same run again",
        "files": "Files",
    }
    return [(key, title) for key, title in every.items() if present.get(key, True)]


def _scored(found: Results) -> SimpleNamespace | None:
    """The primary's correlations, and the untrained one's: of the data set, or their means."""
    tables = [table for table in found.iqa.values() if "primary" in table]
    if not tables:
        return None
    name = next(iter(found.iqa)) if len(found.iqa) == 1 else f"{len(found.iqa)} data sets"
    return SimpleNamespace(
        name=name, now=_mean(tables, "primary"), before=_mean(tables, "primary_untrained")
    )


def _mean(tables: Sequence[Any], model: str) -> SimpleNamespace | None:
    of_model = [table[model] for table in tables if model in table]
    if len(of_model) < len(tables):
        return None
    values = {}
    for metric in ("srcc", "plcc"):
        known = [getattr(each, metric) for each in of_model]
        values[metric] = None if None in known else sum(known) / len(known)
    return SimpleNamespace(**values)


def _trials(run: RunFolder, axes: Iterable[str]) -> dict[str, list[TrialOutcome]]:
    """Completed trials by search; the final proxies' too."""
    tables: dict[str, Path] = {axis: run.trials(axis) for axis in axes}
    tables[FINAL_PROXIES] = run.path / "proxy" / "trials.parquet"
    return {
        name: [row for row in read_trials(table) if row.status == "completed"]
        for name, table in tables.items()
        if table.exists()
    }


def _rates(lines: Sequence[StepLine]) -> dict[int, Rates]:
    """The speed of each epoch so far."""
    numbers = dict.fromkeys(line.epoch for line in lines)
    return {epoch: Rates.of([line for line in lines if line.epoch == epoch]) for epoch in numbers}


def _questions(run: RunFolder) -> list[Question]:
    path = run.catalog / "benchmarks" / "test" / "llvisionqa.json"
    asked: list[Question] = artifacts.read_json(path) if path.exists() else []
    return asked


def _ablations(run: RunFolder) -> dict[str, list[list[str]]]:
    """The table of each ablation that was run, by its study."""
    files = sorted(run.path.glob(f"ablations/*/{ablations.RESULTS}"))
    return {path.parent.name: list(map(ablations.cells, ablations.read(path))) for path in files}


def _unit(costs: ledger.Ledger) -> tuple[str, str, int]:
    """The unit of time of the costs: symbol, name, and seconds."""
    longest = max(costs.device_seconds, costs.wall_seconds)
    if longest >= 36000:
        return "h", "hours", 3600
    return ("min", "minutes", 60) if longest >= 600 else ("s", "seconds", 1)


def _files(run: RunFolder, titles: Mapping[str, str]) -> list[tuple[str, str, bool]]:
    """Files and folders of the run: path relative to the page, content, True where there is one."""
    paths = [
        (run.config, "configuration as resolved, versions, git revision"),
        (run.catalog, "training rows, validation rows, benchmarks"),
        *(
            (path, f"{content} {title}")
            for axis, title in titles.items()
            for path, content in (
                (run.trials(axis).with_suffix(".csv"), "trials of"),
                (run.fit(axis), "fit of"),
            )
        ),
        (run.mixture, "the mixture and λ"),
        (run.proxy_model, "the best final proxy"),
        (run.epochs, "one line an epoch"),
        (run.steps, "one line an optimiser step"),
        (run.model, "the trained primary"),
        (run.evaluation, "metrics and predictions"),
        (run.ledger, "cost"),
        (run.log, "the output of the libraries"),
    ]
    return [
        (f"{path.relative_to(run.path)}{'/' if path.is_dir() else ''}", content, path.exists())
        for path, content in paths
    ]
