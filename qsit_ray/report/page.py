"""pure: the report of a run as one self-contained HTML file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.files import read_yaml
from qsit_ray.errors import InputError
from qsit_ray.evaluation.iqa import IqaResult
from qsit_ray.evaluation.llvisionqa import AnswerResult
from qsit_ray.mixture import AXES
from qsit_ray.report import ablations, ledger, plots
from qsit_ray.report.searches import AXIS_TITLES, search_view
from qsit_ray.run_files import EpochLine, FoundMix, read_epochs

MODELS = {
    "primary": "Primary, trained",
    "primary_untrained": "Primary, untrained",
    "proxy": "Final proxy",
}
DECISIONS = {"grow_scoring": "grow D1", "grow_interpreting": "grow D2 and D3", "hold": "hold"}


def build(run: RunFolder, config: Config) -> Path:
    """Write the run's report.html and ledger.json from the files of its folder; return the page.

    The page names the command of each stage that has not run yet. Raises InputError naming a file
    that can't be read or is not in its format.
    """
    costs = ledger.write(run, config.search.storage)
    content = read_yaml(run.config) if run.config.exists() else None
    made_with = content.get("made_with") if isinstance(content, dict) else None
    epochs = read_epochs(run.epochs)
    searches = [search_view(run, config, axis) for axis in AXES if config.mix is None]
    page = _template().render(
        name=run.path.resolve().name,
        folder=run.path,
        config=config,
        made_with=made_with or {},
        labels="pseudo-MOS" if config.data.source == "demo" else "MOS",
        domains=plots.LABELS,
        models=MODELS,
        decisions=DECISIONS,
        axis_titles=AXIS_TITLES,
        mixture=FoundMix.read(run.mixture) if run.mixture.exists() else None,
        searches=searches,
        flat=any(search.fitted is not None and search.fitted.fit.flat for search in searches),
        epochs=epochs,
        loss_ratios=Markup(plots.loss_ratio(epochs)) if epochs else None,
        sizes=Markup(plots.sizes(epochs)) if epochs else None,
        iqa=_iqa(run),
        ablations=_ablations(run),
        ablation_columns=ablations.COLUMNS,
        answers=_answers(run),
        costs=costs,
        unit=_unit(costs),
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


def _ablations(run: RunFolder) -> dict[str, list[list[str]]]:
    """The table of each ablation that was run, by its study."""
    files = sorted(run.path.glob(f"ablations/*/{ablations.RESULTS}"))
    return {path.parent.name: list(map(ablations.cells, ablations.read(path))) for path in files}


def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "significant": significant,
        "fixed": fixed,
        "percent": percent,
        "count": lambda value: "–" if value is None else f"{value:,}",
        "is_exact": is_exact,
        "lowest": lowest,
        "place": place,
        "groups": groups,
    }
    return environment.from_string((files("qsit_ray.report") / "report.html").read_text("utf-8"))


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


def _iqa(run: RunFolder) -> dict[str, dict[str, IqaResult]]:
    """Correlations by dataset and model."""
    tables: dict[str, dict[str, IqaResult]] = {}
    with _content(run.evaluation / "iqa.json") as results:
        for model in _ordered(results):
            for dataset, content in results[model].items():
                tables.setdefault(dataset, {})[model] = IqaResult.from_json(content)
    return tables


def _answers(run: RunFolder) -> dict[str, AnswerResult]:
    """Accuracy on questions by model."""
    with _content(run.evaluation / "llvisionqa.json") as results:
        return {model: AnswerResult.from_json(results[model]) for model in _ordered(results)}


@contextmanager
def _content(path: Path) -> Iterator[dict[str, Any]]:
    """The content of a file, empty where there is none; an error in it names the file."""
    try:
        yield artifacts.read_json(path) if path.exists() else {}
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        reason = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: not in the run folder's format: {reason}") from None


def groups(columns: Iterable[Mapping[str, float | None]]) -> list[str]:
    """The groups of questions in a breakdown of each model, once each."""
    return list(dict.fromkeys(group for column in columns for group in column))


def _ordered(models: Iterable[str]) -> list[str]:
    """Models in the order of `MODELS`, then any other."""
    return sorted(models, key=lambda model: [*MODELS, model].index(model))


def _unit(costs: ledger.Ledger) -> tuple[str, str, int]:
    """The unit of time of the costs: symbol, name, and seconds."""
    longest = max(costs.device_seconds, costs.wall_seconds)
    if longest >= 36000:
        return "h", "hours", 3600
    return ("min", "minutes", 60) if longest >= 600 else ("s", "seconds", 1)


def _files(run: RunFolder) -> list[tuple[str, str, bool]]:
    """Files and folders of the run: path relative to the page, content, True where there is one."""
    paths = [
        (run.config, "configuration as resolved, versions, git revision"),
        (run.catalog, "training rows, validation rows, benchmarks"),
        *(
            (path, f"{content} {AXIS_TITLES[axis]}")
            for axis in AXES
            for path, content in (
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
        (run.log, "the output of the libraries"),
    ]
    return [
        (f"{path.relative_to(run.path)}{'/' if path.is_dir() else ''}", content, path.exists())
        for path, content in paths
    ]
