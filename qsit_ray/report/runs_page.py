"""pure: several runs side by side as one self-contained HTML file."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.changes import differ
from qsit_ray.config.config import Config
from qsit_ray.data.catalog import Manifest
from qsit_ray.evaluation.intervals import Bootstrap, Interval
from qsit_ray.losses import symbol
from qsit_ray.mixture import short_names
from qsit_ray.report import ledger, paired, predictions, search_plots
from qsit_ray.report.formats import count, fixed, percent, setting, significant
from qsit_ray.report.paired import PairedTest
from qsit_ray.report.predictions import Predictions
from qsit_ray.report.results import Results, results
from qsit_ray.report.searches import SearchView, search_view
from qsit_ray.report.summary import duration
from qsit_ray.report.templates import mixed, template
from qsit_ray.run_files import EpochLine, FoundMix, read_epochs

NOT_COMPARED = ("cache",)
"""Settings that say where files lie."""


@dataclass(frozen=True)
class RunView:
    """What the page shows of one run. `test_data`: the SHA-256 of its test benchmarks, by file."""

    name: str
    folder: Path
    config: Config
    mixture: FoundMix | None
    searches: tuple[SearchView, ...]
    epochs: tuple[EpochLine, ...]
    results: Results
    predicted: Mapping[str, Predictions]
    costs: ledger.Ledger
    test_data: Mapping[str, str]


Row = tuple[str, list[str]]
"""A figure's name, and its value in each run."""


def build(runs: Sequence[tuple[RunFolder, Config]], out: Path) -> Path:
    """Write the page of two or more runs, in their order, to `out`; what a run has not done yet is
    left out.

    Raises InputError naming a file that can't be read or written.
    """
    names = _names([run.path for run, _ in runs])
    views = [_view(name, run, config) for name, (run, config) in zip(names, runs, strict=True)]
    page = template("runs.html").render(
        runs=views,
        models={view.name: view.name for view in views},
        tables=_tables(views),
        settings=_settings(views),
        searches=_searches(views),
        tests=_tests(views),
        confidence=f"{100 * views[0].config.evaluate.confidence:g}",
    )
    artifacts.write_text(out, page)
    return out


def _view(name: str, run: RunFolder, config: Config) -> RunView:
    catalog = run.catalog / "manifest.json"
    hashes = Manifest.read(run.catalog).sha256 if catalog.exists() else {}
    return RunView(
        name,
        run.path,
        config,
        FoundMix.read(run.mixture) if run.mixture.exists() else None,
        tuple(search_view(run, config, axis.name) for axis in config.searches),
        tuple(read_epochs(run.epochs)),
        results(run),
        predictions.read(run, config.data.source),
        ledger.counted(run, config),
        {file: value for file, value in hashes.items() if file.startswith("benchmarks/test/")},
    )


def _names(paths: Sequence[Path]) -> list[str]:
    """The folders' names, or as much of their paths as tells them apart."""
    parts = [path.resolve().parts for path in paths]
    lengths = range(1, max(map(len, parts)) + 1)
    names = (["/".join(each[-length:]) for each in parts] for length in lengths)
    return next(each for each in names if len(set(each)) == len(paths))


def _tables(views: Sequence[RunView]) -> list[tuple[str, list[Row]]]:
    """Figures by topic; one that no run has is left out."""
    topics = (
        ("Mix", _mix_rows(views)),
        ("Scoring, primary", _score_rows(views)),
        ("Interpreting, primary", _answer_rows(views)),
        ("Training", _training_rows(views)),
        ("Cost", _cost_rows(views)),
    )
    known = ((topic, [row for row in rows if set(row[1]) != {"–"}]) for topic, rows in topics)
    return [(topic, rows) for topic, rows in known if rows]


def _mix_rows(views: Sequence[RunView]) -> list[Row]:
    mixes = [view.mixture for view in views]
    pools = max((view.config.pools for view in views), key=len)
    rows: list[Row] = [
        (" : ".join(short_names(pools)), [mixed(mix.ratios) if mix else "–" for mix in mixes]),
        ("λ", [significant(mix.reference_loss_ratio) if mix else "–" for mix in mixes]),
    ]
    for number in range(_most_axes(views)):
        found = [view.searches[number] if view.searches[number:] else None for view in views]
        title = next(search.title for search in found if search)
        rows.append((f"{title}, taken", [_taken(search) for search in found]))
    return rows


def _most_axes(views: Sequence[RunView]) -> int:
    return max(len(view.searches) for view in views)


def _taken(search: SearchView | None) -> str:
    if search is None or search.fitted is None:
        return "–"
    fit = search.fitted.fit
    low, high = map(significant, fit.interval)
    return f"{significant(search.fitted.ratio)} ({low} to {high})"


def _score_rows(views: Sequence[RunView]) -> list[Row]:
    datasets = dict.fromkeys(name for view in views for name in view.results.iqa)
    rows = []
    for dataset in datasets:
        for metric in ("srcc", "plcc"):
            cells = []
            for view in views:
                found = view.results.iqa.get(dataset, {}).get("primary")
                pair = None if found is None else found.intervals.get(metric)
                value = None if found is None else getattr(found, metric)
                cells.append(_with_interval(fixed(value), pair, False))
            rows.append((f"{metric.upper()}, {dataset}", cells))
    return rows


def _answer_rows(views: Sequence[RunView]) -> list[Row]:
    found = [view.results.answers.get("primary") for view in views]
    cells = [
        "–" if each is None else _with_interval(percent(each.accuracy), each.interval, True)
        for each in found
    ]
    guess = [percent(each.random_guess) if each else "–" for each in found]
    return [("Accuracy", cells), ("Random guess", guess)]


def _with_interval(text: str, pair: Interval | None, share: bool) -> str:
    form = percent if share else fixed
    return f"{text} ({form(pair[0])} to {form(pair[1])})" if pair else text


def _training_rows(views: Sequence[RunView]) -> list[Row]:
    epochs = [view.epochs for view in views]
    tasks = [*map(symbol, views[0].config.tasks)]
    losses = [[*e[-1].losses.values()] if e else [] for e in epochs]
    return [
        ("Epochs", [count(len(lines)) if lines else "–" for lines in epochs]),
        ("Rows trained", [count(sum(x.rows_trained for x in e)) if e else "–" for e in epochs]),
        ("Loss ratio, last epoch", [significant(e[-1].loss_ratio) if e else "–" for e in epochs]),
        *(
            (f"{task}, last epoch", [significant(of[place]) if of else "–" for of in losses])
            for place, task in enumerate(tasks)
        ),
    ]


def _cost_rows(views: Sequence[RunView]) -> list[Row]:
    def shown(seconds: float) -> str:
        return duration(seconds) if seconds else "–"

    costs = [view.costs for view in views]
    lost = [sum(search.wasted for search in each.trials.values()) for each in costs]
    return [
        ("Device time", [shown(each.device_seconds) for each in costs]),
        ("of the trials", [shown(each.search_seconds) for each in costs]),
        ("of the primary", [shown(each.primary_seconds) for each in costs]),
        ("lost by attempts", [shown(seconds) for seconds in lost]),
        ("Wall time of the stages", [shown(each.wall_seconds) for each in costs]),
    ]


def _settings(views: Sequence[RunView]) -> list[Row]:
    """Settings that are not the same in all runs, by their dotted keys."""
    values = [view.config.model_dump(mode="json") for view in views]
    keys = dict.fromkeys(key for other in values[1:] for key, _, _ in differ(values[0], other))
    return [
        (key, [_value(each, key) for each in values]) for key in keys if key not in NOT_COMPARED
    ]


def _value(values: Any, key: str) -> str:
    for name in key.split("."):
        if not isinstance(values, dict) or name not in values:
            return "–"
        values = values[name]
    return setting(values)


def _searches(views: Sequence[RunView]) -> list[tuple[str, list[tuple[str, str, Markup]]]]:
    """Drawings by axis: of each run that has trials its name, what it maximises, and the curve. All
    of one axis and one objective have the same scale."""
    found = []
    for number in range(_most_axes(views)):
        searches = [
            (view.name, view.searches[number])
            for view in views
            if view.searches[number:] and view.searches[number].trials
        ]
        drawn = []
        for name, search in searches:
            alike = [other for _, other in searches if other.score == search.score]
            seen = [y for other in alike for y in search_plots.heights(other.trials, other.fitted)]
            span = (min(seen), max(seen)) if seen else None
            plot = search_plots.curve(
                search.trials, search.fitted, search.title, search.score, None, span
            )
            drawn.append((name, search.score, Markup(plot)))
        if drawn:
            found.append((searches[0][1].title, drawn))
    return found


def _tests(views: Sequence[RunView]) -> list[PairedTest]:
    """The primary of each other run against the first's, where both have the same test data."""
    first, *others = views
    found = []
    for view in others:
        if first.test_data and view.test_data == first.test_data:
            models = {
                each.name: each.predicted["primary"]
                for each in (first, view)
                if "primary" in each.predicted
            }
            bootstrap = Bootstrap(first.config.seed, first.config.evaluate.confidence)
            found.append(paired.paired_tests(models, [(view.name, first.name)], bootstrap))
    return list(itertools.chain.from_iterable(found))
