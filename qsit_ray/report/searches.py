"""pure: the searches of a run as its report shows them: plot, verdict and table of curves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from markupsafe import Markup

from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.search import Objective
from qsit_ray.mixture import Axis, ratios_at
from qsit_ray.report import search_plots
from qsit_ray.search.summary import read_fit
from qsit_ray.search.trials import Answers, TrialOutcome, read_trials
from qsit_ray.surrogate.comparison import Comparison

AXIS_TITLES = {"interpreting_general": "D2 : D3", "interpreting_scoring": "(D2 + D3) : D1"}
SCORES: dict[tuple[Objective, Answers], str] = {
    ("interpreting", "accuracy"): "Accuracy on validation questions",
    ("interpreting", "probability"): "Probability of the right answer, validation questions",
    ("both", "accuracy"): "Mean of accuracy and (SRCC + PLCC) / 2, validation",
    (
        "both",
        "probability",
    ): "Mean of probability of the right answer and (SRCC + PLCC) / 2, validation",
}
LOSSES: dict[Objective, str] = {
    "loss_interpreting": "−log L_I on validation rows",
    "losses": "Mean of −log L_S and −log L_I on validation rows",
}
ALTERNATIVES_SHOWN = 5


@dataclass(frozen=True)
class SearchView:
    """One search: before it has run there are no trials and no plot, before it is fitted no
    `fitted`. `score`: what its trials maximise. `curves`: names of the curves in the table, in
    order."""

    title: str
    score: str
    trials: list[TrialOutcome]
    plot: Markup | None = None
    losses: Markup | None = None
    fitted: Comparison | None = None
    curves: tuple[str, ...] = ()


def search_view(run: RunFolder, config: Config, axis: Axis) -> SearchView:
    """Raises InputError naming a file that can't be read."""
    title, space = AXIS_TITLES[axis], config.space(axis)
    score = LOSSES.get(space.objective) or SCORES[space.objective, space.answers]
    if not run.trials(axis).exists():
        return SearchView(title, score, [])
    rows, fitted = read_trials(run.trials(axis)), read_fit(run, axis)
    plot = Markup(search_plots.curve(rows, fitted, title, score, _shares(run, axis)))
    lossy = any(row.loss_scoring and row.loss_interpreting for row in rows)
    curves = fitted.losses if fitted else {}
    losses = Markup(search_plots.losses(rows, curves, title)) if lossy else None
    return SearchView(title, score, rows, plot, losses, fitted, _curves(fitted) if fitted else ())


def _curves(fitted: Comparison) -> tuple[str, ...]:
    """The curves with an interval, the used one first, and the alternatives that predict best."""
    errors = {name: error for name, error in fitted.alternatives.items() if error is not None}
    best = sorted(errors, key=lambda name: errors[name])[:ALTERNATIVES_SHOWN]
    # The constant is always shown: a curve must predict better than none.
    names = [fitted.used, fitted.recommended, *fitted.curves, *best, "constant"]
    return tuple(dict.fromkeys(names))


def _shares(run: RunFolder, axis: Axis) -> search_plots.Shares | None:
    """Rows of each domain at a ratio of `axis`; None where the first axis has no fit yet."""
    if axis == "interpreting_general":
        return lambda ratio: {"interpreting": ratio, "general": 1.0}
    first = read_fit(run, "interpreting_general")
    return partial(ratios_at, first.ratio) if first else None
