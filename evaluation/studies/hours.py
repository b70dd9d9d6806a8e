"""pure: ways to search with fewer device hours, on the recorded trials of finished searches.

The runs have a full grid and scouts; each way takes some of their trials. The true response is that
of all trials of all runs together, each run's mean taken off. Writes the section `hours` of a page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.search import Adaptive
from qsit_ray.errors import InputError
from qsit_ray.evaluation.studies.sections import Page, table, write_section
from qsit_ray.mixture import AXES, DOMAINS, axes_of
from qsit_ray.report.names import title
from qsit_ray.run_config import RunConfig
from qsit_ray.search.adaptive import Observed, Rounds
from qsit_ray.search.trials import TrialOutcome, read_trials
from qsit_ray.stages.evidence import loss_columns, of_losses, scouts_file
from qsit_ray.surrogate.comparison import PAPER_DEGREE, compare_curves
from qsit_ray.surrogate.evidence import Evidence
from qsit_ray.surrogate.gaussian_process import Trend, mean_curve, posterior
from qsit_ray.surrogate.observations import Observations, observed

Pick = tuple[float, float]
"""A ratio, and the device seconds that it took to find."""
FULL_TRIALS = 4
SCOUTS = 6
PLACES = 201


@dataclass(frozen=True)
class Recorded:
    """One axis of one run, and the true response there."""

    axis: str
    config: Config
    trials: list[TrialOutcome]
    scouts: list[TrialOutcome]
    truth: Trend

    @property
    def low(self) -> float:
        return min(row.ratio for row in self.trials)

    @property
    def high(self) -> float:
        return max(row.ratio for row in self.trials)

    @property
    def grid(self) -> np.ndarray:
        return np.clip(np.geomspace(self.low, self.high, PLACES), self.low, self.high)

    def regret(self, ratio: float) -> float:
        return float(self.truth(self.grid).max() - self.truth(np.array([ratio]))[0])


def always_one(search: Recorded) -> Pick:
    return 1.0, 0.0


def paper(search: Recorded) -> Pick:
    """The grid, read off by the paper's polynomial in the run's coordinate."""
    space = search.config.space(search.axis)
    seen = _seen(search.trials, "score")
    found = compare_curves(seen, degree=space.degree, coordinate=space.coordinate)
    name = next(name for name in found.curves if name.startswith("quartic"))
    return found.curves[name].optimum, _seconds(search.trials)


def plain(search: Recorded) -> Pick:
    """The grid, read off by the Gaussian process."""
    return _best(search, search.trials, []), _seconds(search.trials)


def informed(search: Recorded) -> Pick:
    """The grid, with its losses."""
    known = of_losses(search.trials, search.config, search.axis)
    return _best(search, search.trials, known), _seconds(search.trials)


def one_seed(search: Recorded) -> Pick:
    """The grid with one seed, with its losses."""
    rows = [row for row in search.trials if row.seed == search.trials[0].seed]
    known = of_losses(rows, search.config, search.axis)
    return _best(search, rows, known), _seconds(rows)


def scouts_alone(search: Recorded) -> Pick:
    """The scouts' own scores, with their losses."""
    known = of_losses(search.scouts, search.config, search.axis)
    return _best(search, search.scouts, known), _seconds(search.scouts)


def least_loss(search: Recorded, rows: Sequence[TrialOutcome] | None = None) -> Pick:
    """The least loss of the scouts, on the second axis of both: the objectives `loss_interpreting`
    and `losses` of so short trials."""
    rows = search.scouts if rows is None else rows
    columns = loss_columns(search.config, search.axis)
    logs = np.log([[row.value(column) or np.nan for column in columns] for row in rows]).mean(
        axis=1
    )
    curve = mean_curve([row.ratio for row in rows], -logs, search.low, search.high)
    return float(search.grid[np.argmax(curve(search.grid))]), _seconds(rows)


def least_loss_of_four(search: Recorded) -> Pick:
    """The same of four scouts: both ends and two between."""
    rows = sorted(search.scouts, key=lambda row: row.ratio)
    return least_loss(search, [rows[0], rows[2], rows[3], rows[5]])


def least_loss_of_grid(search: Recorded) -> Pick:
    """The same of all trials of the grid."""
    return least_loss(search, search.trials)


def scouted(search: Recorded) -> Pick:
    """Scouts, then few full trials that the knowledge gradient places."""
    columns = loss_columns(search.config, search.axis)
    known = tuple(
        Evidence(column, _seen(search.scouts, column, logarithm=True)) for column in columns
    )
    ratio, seconds = _adaptive(search, known)
    return ratio, seconds + _seconds(search.scouts)


def adaptive(search: Recorded) -> Pick:
    """As many full trials without scouts."""
    return _adaptive(search, ())


WAYS: dict[str, Callable[[Recorded], Pick]] = {
    "always ratio 1": always_one,
    "grid, paper's quartic": paper,
    "grid, Gaussian process": plain,
    "grid, with losses": informed,
    "one seed of the grid, with losses": one_seed,
    f"{FULL_TRIALS} adaptive trials": adaptive,
    f"scouts and {FULL_TRIALS} adaptive trials": scouted,
    "scouts alone, their scores with losses": scouts_alone,
    "grid, the least loss": least_loss_of_grid,
    "scouts alone, the least loss": least_loss,
    "four scouts alone, the least loss": least_loss_of_four,
}


def _adaptive(search: Recorded, known: tuple[Evidence, ...]) -> Pick:
    """An adaptive search in which a trial at any ratio has the true score there, plus what the
    recorded trial of the nearest ratio and the same seed differs from it."""
    seeds = tuple(sorted({row.seed for row in search.trials}))
    settings = Adaptive(trials=FULL_TRIALS, tolerance=1e-12)
    rounds = Rounds(settings, search.low, search.high, seeds, 0, known)
    done: list[Observed] = []
    seconds = 0.0
    while points := rounds.propose(done):
        for ratio, seed in points:
            rows = [row for row in search.trials if row.seed == seed and row.score is not None]
            near = min(rows, key=lambda row: abs(np.log(row.ratio / ratio)))
            here, there = search.truth(np.array([ratio, near.ratio]))
            assert near.score is not None
            done.append((ratio, seed, float(here + near.score - there)))
            seconds += near.device_seconds or 0.0
    ratios, _, scores = np.array(done, dtype=np.float64).T
    trends = [each.curve for each in known]
    return posterior(ratios, scores, search.low, search.high, trends=trends).optimum, seconds


def _best(search: Recorded, rows: Sequence[TrialOutcome], known: Sequence[Evidence]) -> float:
    seen = _seen(rows, "score")
    trends = [each.curve for each in known]
    found = posterior(seen.ratios, seen.scores, search.low, search.high, trends=trends)
    return found.optimum


def _seen(rows: Sequence[TrialOutcome], column: str, logarithm: bool = False) -> Observations:
    values = [row.value(column) for row in rows]
    if logarithm:
        values = [None if value is None else float(np.log(value)) for value in values]
    return observed([row.ratio for row in rows], values)


def _seconds(rows: Sequence[TrialOutcome]) -> float:
    return sum(row.device_seconds or 0.0 for row in rows)


def recorded(runs: Sequence[Path], axis: str) -> list[Recorded]:
    """The searches of an axis in all runs. Raises InputError for one without trials or scouts."""
    found = []
    for path in runs:
        run = RunFolder(path)
        for file in (run.trials(axis), scouts_file(run, axis)):
            if not file.exists():
                raise InputError(f"{file}: missing; the search needs a grid and search.scouts")
        config = RunConfig.read(run).settings
        trials = [row for row in read_trials(run.trials(axis)) if row.score is not None]
        scouts = [row for row in read_trials(scouts_file(run, axis)) if row.losses]
        if len(scouts) != SCOUTS or config.space(axis).degree != PAPER_DEGREE:
            raise InputError(f"{path}: {SCOUTS} scouts and a quartic are needed on {axis}")
        found.append(Recorded(axis, config, trials, scouts, np.asarray))
    ratios = np.array([row.ratio for each in found for row in each.trials])
    scores = np.concatenate([_scores(each.trials) - _scores(each.trials).mean() for each in found])
    truth = mean_curve(ratios, scores, float(ratios.min()), float(ratios.max()))
    return [replace(each, truth=truth) for each in found]


def _scores(rows: Sequence[TrialOutcome]) -> np.ndarray:
    return np.array([row.score for row in rows], dtype=np.float64)


def hours_table(runs: Sequence[Path]) -> str:
    """A row for each way: its share of the grids' device seconds over both axes, and its regret on
    each axis, mean and most over the runs, in hundredths of the score."""
    searches = {axis: recorded(runs, axis) for axis in AXES}
    whole = sum(_seconds(each.trials) for of_axis in searches.values() for each in of_axis)
    rows = []
    for name, way in WAYS.items():
        picks = {axis: [way(each) for each in of_axis] for axis, of_axis in searches.items()}
        spent = sum(seconds for of_axis in picks.values() for _, seconds in of_axis)
        cells = [name, f"{spent / whole:.3f}"]
        for axis, of_axis in searches.items():
            lost = [
                100 * each.regret(ratio)
                for each, (ratio, _) in zip(of_axis, picks[axis], strict=True)
            ]
            cells += [
                ", ".join(f"{ratio:.3g}" for ratio, _ in picks[axis]),
                f"{np.mean(lost):.2f}, {np.max(lost):.2f}",
            ]
        rows.append(cells)
    columns = ["search", "device seconds"]
    for each in axes_of(DOMAINS):
        columns += [f"{title(each, DOMAINS)}: best", "regret, mean and most"]
    return table(columns, rows)


def write(
    runs: Annotated[list[Path], typer.Argument(help="Run folders with a grid and scouts.")],
    out: Page,
) -> None:
    """Device seconds and regret of ways to search, on the trials of finished searches."""
    scouts = "'search.scouts={ratios: 6, share: 0.333}'"
    commands = [
        f"qsit data build demo-S --preset demo --set seed=S --set {scouts}",
        *["qsit search run demo-S", "qsit fit demo-S"] * 2,
        f"python -m evaluation.studies hours {' '.join(run.name for run in runs)} --out {out}",
    ]
    write_section(out, "hours", f"`{'; '.join(commands)}`", hours_table(runs))
