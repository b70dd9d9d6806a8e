"""pure: the searches of a run as its report shows them: plot, verdict and table of curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.losses import LOSS, symbol
from qsit_ray.mixture import Axis, ratios_at
from qsit_ray.report import names, search_plots
from qsit_ray.search.summary import read_fit
from qsit_ray.search.trials import Answers, TrialOutcome, read_trials
from qsit_ray.surrogate.comparison import Comparison

SCORES: dict[tuple[str, Answers], str] = {
    ("interpreting", "accuracy"): "Accuracy on validation questions",
    ("interpreting", "probability"): "Probability of the right answer, validation questions",
    ("both", "accuracy"): "Mean of accuracy and (SRCC + PLCC) / 2, validation",
    (
        "both",
        "probability",
    ): "Mean of probability of the right answer and (SRCC + PLCC) / 2, validation",
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


def search_view(run: RunFolder, config: Config, axis: str) -> SearchView:
    """Raises InputError naming a file that can't be read."""
    title, score = names.title(config.axis(axis), config.pools), _score(config, axis)
    if not run.trials(axis).exists():
        return SearchView(title, score, [])
    rows, fitted = read_trials(run.trials(axis)), read_fit(run, axis)
    plot = Markup(search_plots.curve(rows, fitted, title, score, _shares(run, config, axis)))
    lossy = any(row.losses and all(row.losses.values()) for row in rows)
    curves = fitted.losses if fitted else {}
    losses = Markup(search_plots.losses(rows, curves, title)) if lossy else None
    return SearchView(title, score, rows, plot, losses, fitted, _curves(fitted) if fitted else ())


def _score(config: Config, axis: str) -> str:
    """What the trials of an axis maximise."""
    space = config.space(axis)
    if space.objective == "losses":
        return f"Mean of {' and '.join(map(_log, config.tasks))} on validation rows"
    if space.objective.startswith(LOSS):
        return f"{_log(space.objective.removeprefix(LOSS))} on validation rows"
    return SCORES[space.objective, space.answers]


def _log(task: str) -> str:
    return f"−log {symbol(task)}"


def _curves(fitted: Comparison) -> tuple[str, ...]:
    """The curves with an interval, the used one first, and the alternatives that predict best."""
    errors = {name: error for name, error in fitted.alternatives.items() if error is not None}
    best = sorted(errors, key=lambda name: errors[name])[:ALTERNATIVES_SHOWN]
    # The constant is always shown: a curve must predict better than none.
    found = [fitted.used, fitted.recommended, *fitted.curves, *best, "constant"]
    return tuple(dict.fromkeys(found))


def _shares(run: RunFolder, config: Config, axis: str) -> search_plots.Shares | None:
    """Rows of each pool at a ratio of `axis`; None where an axis before has no fit yet."""
    every = [each.name for each in config.axes]
    optima = {}
    for name in every[: every.index(axis)]:
        fitted = read_fit(run, name)
        if fitted is None:
            return None
        optima[name] = fitted.ratio
    of, pools = config.axis(axis), config.pools

    def shares(ratio: float) -> dict[str, float]:
        found = ratios_at((of.under, *of.over), {**optima, axis: ratio})
        return {pool: found.get(pool, 0.0) for pool in pools}

    return shares if of.takes_all else lambda ratio: _two(of, ratio, pools)


def _two(axis: Axis, ratio: float, pools: Sequence[str]) -> dict[str, float]:
    (over,) = axis.over
    return dict.fromkeys(pools, 0.0) | {over: ratio, axis.under: 1.0}
