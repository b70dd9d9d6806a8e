"""pure: both tasks over all trials of a run's searches, and the mixes that none beats in both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qsit_ray.report.formats import significant
from qsit_ray.report.search_plots import told
from qsit_ray.search.records import FINAL_PROXIES
from qsit_ray.search.trials import TrialOutcome

LEAST = 3
"""Mixes below which there is nothing to weigh."""


@dataclass(frozen=True)
class Mix:
    """The trials of one search at one ratio: each as its words, its value in interpreting and in
    scoring; the means of both; `on_front`: no mix of the searches is as good in both and better in
    one."""

    search: str
    trials: tuple[tuple[str, float, float], ...]
    interpreting: float
    scoring: float
    told: str
    on_front: bool = False


@dataclass(frozen=True)
class Tradeoff:
    """Mixes by rising interpreting; both values are better where they are higher."""

    x_title: str
    y_title: str
    mixes: tuple[Mix, ...]


def tradeoff(
    searches: Mapping[str, Sequence[TrialOutcome]], titles: Mapping[str, str]
) -> Tradeoff | None:
    """Of trials by search; None where fewer than three mixes have both values.

    Scoring is the SRCC on validation images; where a trial of any search has none, it is -L_S for
    all. Interpreting is the accuracy on validation questions.
    """
    done = [row for rows in searches.values() for row in rows if row.accuracy is not None]
    ranked = all(row.srcc is not None for row in done)
    mixes = []
    for search, rows in searches.items():
        for ratio in sorted({row.ratio for row in rows}):
            found = _mix(search, [r for r in rows if r.ratio == ratio], titles[search], ranked)
            mixes += [] if found is None else [found]
    if len(mixes) < LEAST:
        return None
    searched = [mix for mix in mixes if mix.search != FINAL_PROXIES]
    marked = [replace(m, on_front=m in searched and not _is_beaten(m, searched)) for m in mixes]
    return Tradeoff(
        "Accuracy on validation questions",
        "SRCC on validation images" if ranked else "Scoring, −L_S on validation rows",
        tuple(sorted(marked, key=lambda mix: (mix.interpreting, -mix.scoring))),
    )


def _mix(search: str, rows: Sequence[TrialOutcome], title: str, ranked: bool) -> Mix | None:
    scoring: Callable[[TrialOutcome], float | None] = lambda row: (  # noqa: E731
        row.srcc if ranked else None if row.loss_scoring is None else -row.loss_scoring
    )
    both = [(row, row.accuracy, scoring(row)) for row in rows]
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
    words = f"{name} · {seeds} · accuracy {significant(x)} · scoring {significant(y)}"
    return Mix(search, trials, x, y, words)


def _is_beaten(mix: Mix, others: Sequence[Mix]) -> bool:
    return any(
        (other.interpreting >= mix.interpreting and other.scoring >= mix.scoring)
        and (other.interpreting > mix.interpreting or other.scoring > mix.scoring)
        for other in others
    )
