"""pure: adaptive searches of simulated responses, compared with the paper's full grid.

Writes the section `adaptive` of docs/SEARCH.md.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import optuna
from numpy.polynomial import Chebyshev
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution

from qsit_ray.config.presets import space
from qsit_ray.config.search import Adaptive, Space
from qsit_ray.evaluation.studies.response_curves import (
    HIGH,
    KINDS,
    LOW,
    NOISES,
    POINT,
    Curve,
    Kind,
    family,
)
from qsit_ray.evaluation.studies.sections import (
    Count,
    Page,
    Seed,
    command_line,
    table,
    write_section,
)
from qsit_ray.search.adaptive import Observed, Progress, Rounds
from qsit_ray.surrogate.coordinates import Scale
from qsit_ray.surrogate.gaussian_process import posterior

CURVES = 200
SETTINGS = Adaptive(trials=14)  # a quarter of the grid's 57

BY_PROCESS = "Gaussian process"
OVER_LOG = (BY_PROCESS, "quartic over log", "cubic over log")
PAPERS = "quartic over ratio"
PROPOSERS = ("even spread", "TPE", "knowledge gradient")
# The searches, each with the surrogates that read its optimum off.
SEARCHES = {
    "grid": (*OVER_LOG, PAPERS),
    "adaptive": OVER_LOG,
    **dict.fromkeys(PROPOSERS, (BY_PROCESS,)),
}

Floats = NDArray[np.float64]
Trials = tuple[Floats, Floats]  # ratios and scores, shape (trials,) each


@dataclass
class Outcomes:
    """Searches of the curves of one kind at one noise.

    `regrets`: by search and surrogate, in units of the score, one per curve. The searches of
    PROPOSERS have no tolerance. `ended`: the final state of each adaptive search.
    """

    kind: Kind
    noise: float
    regrets: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    ended: list[Progress] = field(default_factory=list)

    @property
    def adaptive(self) -> list[float]:
        return self.regrets["adaptive", BY_PROCESS]

    @property
    def best_surrogate(self) -> str:
        """The surrogate with the least regret on the full grid: by the median, then by the mean."""
        grid = {name: self.regrets["grid", name] for name in SEARCHES["grid"]}
        return min(grid, key=lambda name: (np.median(grid[name]), np.mean(grid[name])))

    @property
    def early(self) -> list[bool]:
        """The searches that ended under the tolerance."""
        return [end.over == "tolerance" for end in self.ended]

    @property
    def bounded(self) -> list[bool]:
        """The searches whose regret is at most the one they stated."""
        lost = zip(self.adaptive, self.ended, strict=True)
        return [end.regret_left is not None and r <= end.regret_left + 1e-9 for r, end in lost]


def simulated(kind: Kind, noise: float, curves: int = CURVES, seed: int = 0) -> Outcomes:
    """Searches of the first `curves` responses of a kind; a function of the arguments alone."""
    found = Outcomes(kind, noise)
    grid = space("paper_interpreting_general")
    no_tolerance = SETTINGS.model_copy(update={"tolerance": 1e-12})
    everywhere = np.repeat(grid.ratios, len(grid.seeds))
    evenly = np.geomspace(LOW, HIGH, SETTINGS.trials)
    for number, curve in enumerate(family(kind, curves, seed)):
        chance = np.random.default_rng([seed, number, round(noise * 1e6)])
        trials = {"grid": (everywhere, curve.observed(everywhere, noise, chance))}
        trials["adaptive"], end = searched(curve, noise, SETTINGS, grid, chance)
        trials["knowledge gradient"] = trials["adaptive"]
        if end.over == "tolerance":
            trials["knowledge gradient"], _ = searched(curve, noise, no_tolerance, grid, chance)
        trials["TPE"] = _proposed_by_tpe(curve, noise, number, chance)
        trials["even spread"] = evenly, curve.observed(evenly, noise, chance)
        found.ended.append(end)
        for search, surrogates in SEARCHES.items():
            for name in surrogates:
                regret = float(curve.regret(peak(name, *trials[search])))
                found.regrets[search, name].append(regret)
    return found


def searched(
    curve: Curve, noise: float, settings: Adaptive, grid: Space, chance: np.random.Generator
) -> tuple[Trials, Progress]:
    """The trials of one adaptive search of the curve, and its final state."""
    rounds = Rounds(settings, LOW, HIGH, grid.seeds, seed=0)
    done: list[Observed] = []
    while points := rounds.propose(done):
        scores = curve.observed([ratio for ratio, _ in points], noise, chance)
        done += [(*point, float(y)) for point, y in zip(points, scores, strict=True)]
    ratios, _, found = np.array(done, dtype=np.float64).T
    return (ratios, found), rounds.progress(done)


def peak(surrogate: str, ratios: Floats, scores: Floats) -> float:
    """The argmax of a surrogate fitted to the trials."""
    if surrogate == BY_PROCESS:
        return posterior(ratios, scores, LOW, HIGH, points=65).optimum
    scale = Scale("log" if surrogate.endswith("log") else "ratio", LOW, HIGH)
    # A search that ends early may have too few ratios for the curve.
    degree = min(4 if surrogate.startswith("quartic") else 3, np.unique(ratios).size - 1)
    curve = Chebyshev.fit(scale.units(ratios), scores, degree, domain=[-1, 1])
    fine = np.linspace(-1, 1, 2001)
    return float(scale.ratios(fine[np.argmax(curve(fine))]))


def _proposed_by_tpe(curve: Curve, noise: float, seed: int, chance: np.random.Generator) -> Trials:
    """The trials of a search by optuna's default sampler, in rounds as well."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=SETTINGS.batch)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    interval: dict[str, BaseDistribution] = {"ratio": FloatDistribution(LOW, HIGH, log=True)}
    while left := SETTINGS.trials - len(study.trials):
        trials = [study.ask(interval) for _ in range(min(SETTINGS.batch, left))]
        scores = curve.observed([trial.params["ratio"] for trial in trials], noise, chance)
        for trial, score in zip(trials, scores, strict=True):
            study.tell(trial, float(score))
    tried, seen = np.array([(trial.params["ratio"], trial.value) for trial in study.trials]).T
    return tried, seen


def parts(found: list[Outcomes]) -> list[str]:
    """The page's section: its tables, one row per kind and noise, and a line on early ends."""
    with_grid, with_others = [], []
    others = [("adaptive", name) for name in OVER_LOG] + [(name, BY_PROCESS) for name in PROPOSERS]
    for row in found:
        title = [row.kind, f"{row.noise / POINT:.1f}"]
        used, best = np.mean([end.trials for end in row.ended]), row.best_surrogate
        with_grid.append(
            [
                *(*title, f"{used:.1f}", _share(row.early), _lost(row.regrets["grid", PAPERS])),
                f"{_lost(row.regrets['grid', best])}, {best}",
                *(_lost(row.adaptive), _share(row.bounded)),
            ]
        )
        with_others.append([*title, *(_lost(row.regrets[key]) for key in others)])

    goal = []
    rows = [row for row in found if row.kind in ("peak", "edge")]
    for name, middle in (("median", np.median), ("mean", np.mean)):
        ours = np.array([middle(row.adaptive) for row in rows])
        papers = np.array([middle(row.regrets["grid", PAPERS]) for row in rows])
        best_of_grid = np.array([middle(row.regrets["grid", row.best_surrogate]) for row in rows])
        less, equal = f"{np.sum(ours < papers)} of {len(rows)}", f"{np.sum(ours == papers)}"
        goal.append([name, less, equal, f"{np.max(ours - best_of_grid) / POINT:.3f}"])

    lost = [r for row in found for r, early in zip(row.adaptive, row.early, strict=True) if early]
    kept = _share([r <= SETTINGS.tolerance for r in lost]) if lost else "none"
    columns = [
        *("curve", "noise", "trials, mean", "ended early", "grid: paper's quartic over ratio"),
        *("grid: best surrogate", "adaptive", "regret within the stated (95 %)"),
    ]
    goals = ["regret", "less than the paper's quartic", "equal", "most over the best surrogate"]
    return [
        table(columns, with_grid),
        table(goals, goal),
        f"Ended early: {len(lost)} searches; {kept} of them lost no more than the tolerance.",
        table(["curve", "noise", *OVER_LOG, *PROPOSERS], with_others),
    ]


def _lost(regrets: list[float]) -> str:
    return f"{np.median(regrets) / POINT:.3f}, {np.mean(regrets) / POINT:.3f}"


def _share(which: list[bool]) -> str:
    return f"{100 * np.mean(which):.1f} %"


def write(out: Page, curves: Count = CURVES, seed: Seed = 0) -> None:
    """Regrets of adaptive searches of simulated responses, and of the paper's grid."""
    found = [simulated(kind, noise, curves, seed) for kind in KINDS for noise in NOISES]
    command = command_line("adaptive", curves=curves, seed=seed)
    write_section(out, "adaptive", command, *parts(found))
