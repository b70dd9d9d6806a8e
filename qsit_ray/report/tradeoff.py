"""pure: both tasks over all trials of a run's searches, and the mixes that none beats in both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qsit_ray.losses import symbol
from qsit_ray.report.formats import significant
from qsit_ray.report.search_plots import told
from qsit_ray.search.records import FINAL_PROXIES
from qsit_ray.search.trials import TrialOutcome

Measure = Callable[[TrialOutcome], float | None]
LEAST = 3
"""Mixes below which there is nothing to weigh."""


@dataclass(frozen=True)
class Mix:
    """The trials of one search at one ratio: each as its words, its value in interpreting and in
    scoring, or whatever the second and the first task are; the means of both; `on_front`: no mix of
    the searches is as good in both and better in one."""

    search: str
    trials: tuple[tuple[str, float, float], ...]
    interpreting: float
    scoring: float
    told: str
    on_front: bool = False


@dataclass(frozen=True)
class Tradeoff:
    """Mixes by rising interpreting; both values are better where they are higher. `searches`: the
    titles of the searches by their names, without the final proxies."""

    searches: Mapping[str, str]
    x_title: str
    y_title: str
    mixes: tuple[Mix, ...]


def tradeoff(
    searches: Mapping[str, Sequence[TrialOutcome]], titles: Mapping[str, str]
) -> Tradeoff | None:
    """Of trials by search; None where fewer than three mixes have both values.

    Scoring is the SRCC on validation images; where a trial of any search has none, it is -L_S for
    all. Interpreting is the accuracy on validation questions; without questions it is -L_I.
    """
    every = [row for rows in searches.values() for row in rows]
    asked = any(row.accuracy is not None for row in every)
    done = [row for row in every if row.accuracy is not None] if asked else every
    ranked = all(row.srcc is not None for row in done)
    tasks = next((list(row.losses) for row in done if row.losses), ["", ""])
    first, second = tasks
    x, y = _accuracy if asked else _less(second), _srcc if ranked else _less(first)
    mixes = []
    for search, rows in searches.items():
        for ratio in sorted({row.ratio for row in rows}):
            found = _mix(search, [r for r in rows if r.ratio == ratio], titles[search], x, y)
            mixes += [] if found is None else [found]
    if len(mixes) < LEAST:
        return None
    searched = [mix for mix in mixes if mix.search != FINAL_PROXIES]
    marked = [replace(m, on_front=m in searched and not _is_beaten(m, searched)) for m in mixes]
    return Tradeoff(
        {name: title for name, title in titles.items() if name != FINAL_PROXIES},
        "Accuracy on validation questions" if asked else _lossy(second),
        "SRCC on validation images" if ranked else _lossy(first),
        tuple(sorted(marked, key=lambda mix: (mix.interpreting, -mix.scoring))),
    )


def _accuracy(row: TrialOutcome) -> float | None:
    return row.accuracy


def _srcc(row: TrialOutcome) -> float | None:
    return row.srcc


def _less(task: str) -> Measure:
    """The task's loss with its sign changed."""
    return lambda row: -row.losses[task] if row.losses else None


def _lossy(task: str) -> str:
    return f"{task.capitalize()}, −{symbol(task)} on validation rows"


def _mix(
    search: str, rows: Sequence[TrialOutcome], title: str, of_x: Measure, of_y: Measure
) -> Mix | None:
    both = [(row, of_x(row), of_y(row)) for row in rows]
    trials = tuple(
        (told(row, title) if search != FINAL_PROXIES else f"{title} · seed {row.seed}", x, y)
        for row, x, y in both
        if x is not None and y is not None
    )
    if not trials:
        return None
    x, y = (float(np.mean([trial[place] for trial in trials])) for place in (1, 2))
    name = title if search == FINAL_PROXIES else f"{title} = {rows[0].ratio:g}"
    seeds = f"mean of {len(trials)}" if len(trials) > 1 else "one trial"
    axes = ("accuracy", "scoring") if of_x is _accuracy else ("across", "up")
    words = f"{name} · {seeds} · {axes[0]} {significant(x)} · {axes[1]} {significant(y)}"
    return Mix(search, trials, x, y, words)


def _is_beaten(mix: Mix, others: Sequence[Mix]) -> bool:
    return any(
        (other.interpreting >= mix.interpreting and other.scoring >= mix.scoring)
        and (other.interpreting > mix.interpreting or other.scoring > mix.scoring)
        for other in others
    )
