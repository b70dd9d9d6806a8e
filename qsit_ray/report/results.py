"""pure: the results in a run's evaluation/ by model, in the order of a report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.data.catalog import Question
from qsit_ray.errors import InputError
from qsit_ray.evaluation.iqa import IqaResult, table_iv
from qsit_ray.evaluation.llvisionqa import AnswerResult, table_v

MODELS = {
    "primary": "Primary, trained",
    "primary_untrained": "Primary, untrained",
    "proxy": "Final proxy",
}


@dataclass(frozen=True)
class Results:
    """Correlations by data set and model, and accuracies by model; both empty before the
    evaluation."""

    iqa: dict[str, dict[str, IqaResult]]
    answers: dict[str, AnswerResult]

    @property
    def models(self) -> list[str]:
        """Those that have any result."""
        return _ordered({m for table in self.iqa.values() for m in table} | set(self.answers))

    def table_iv(
        self, trained_on: Sequence[str]
    ) -> dict[str, list[tuple[str, float | None, float | None]]]:
        """Of several data sets, for each model: means, of all and of those of each setting, by
        name: SRCC and PLCC. Empty for one data set."""
        if len(self.iqa) < 2:
            return {}
        found = {}
        for model in self.models:
            of_model = {name: table[model] for name, table in self.iqa.items() if model in table}
            rows = [row for row in table_iv(model, of_model, trained_on) if row.dataset is None]
            everything = table_iv(model, of_model, list(of_model))[-1]
            settings = rows if len(rows) > 1 else []
            shown = [(f"mean, {row.setting}", row.srcc, row.plcc) for row in settings]
            found[model] = [*shown, ("mean of all", everything.srcc, everything.plcc)]
        return found

    def table_v(self, questions: Sequence[Question]) -> dict[str, dict[str, float | None]]:
        """Accuracies by type, concern and overall: of random guess where the questions are there,
        and of each model. Groups that no model has are left out."""
        if questions:
            table = table_v(questions, self.answers)
        else:
            table = {
                model: {**found.by_type, **found.by_concern, "overall": found.accuracy}
                for model, found in self.answers.items()
            }
        known = {
            group for row in table.values() for group, value in row.items() if value is not None
        }
        return {
            model: {group: value for group, value in row.items() if group in known}
            for model, row in table.items()
        }


def results(run: RunFolder) -> Results:
    """Raises InputError naming a file that can't be read or is not in its format."""
    tables: dict[str, dict[str, IqaResult]] = {}
    with _content(run.evaluation / "iqa.json") as content:
        for model in _ordered(content):
            for dataset, values in content[model].items():
                tables.setdefault(dataset, {})[model] = IqaResult.from_json(values)
    with _content(run.evaluation / "llvisionqa.json") as content:
        answers = {model: AnswerResult.from_json(content[model]) for model in _ordered(content)}
    return Results(tables, answers)


def radar_values(found: Results) -> tuple[list[str], dict[str, list[float]]]:
    """The axes on which every model has a value, and each model's: the mean of SRCC and PLCC of
    each data set, and the accuracy of each kind of question (Fig. 5)."""
    columns: dict[str, Mapping[str, float | None]] = {
        dataset: {model: result.average for model, result in table.items()}
        for dataset, table in found.iqa.items()
    }
    for kind in ("by_type", "by_concern"):
        groups = dict.fromkeys(g for a in found.answers.values() for g in getattr(a, kind))
        for group in groups:
            columns[group] = {
                model: getattr(answer, kind).get(group) for model, answer in found.answers.items()
            }
    whole = {
        name: column
        for name, column in columns.items()
        if all(column.get(model) is not None for model in found.models)
    }
    models = {m: [float(column[m] or 0.0) for column in whole.values()] for m in found.models}
    return list(whole), models


@contextmanager
def _content(path: Path) -> Iterator[dict[str, Any]]:
    """The content of a file, empty where there is none; an error in it names the file."""
    try:
        yield artifacts.read_json(path) if path.exists() else {}
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        reason = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: not in the run folder's format: {reason}") from None


def _ordered(models: Iterable[str]) -> list[str]:
    """Models in the order of `MODELS`, then any other."""
    return sorted(models, key=lambda model: ([*MODELS, model].index(model), model))
