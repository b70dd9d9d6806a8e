"""pure: adaptive searches of simulated responses, beside the paper's full grid.

`python -m evaluation.studies.adaptive --out docs/SEARCH.md` writes the page's section
`adaptive`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.polynomial import Chebyshev
from numpy.typing import NDArray

from evaluation.studies.response_curves import HIGH, KINDS, LOW, NOISES, Curve, Kind, family
from evaluation.studies.sections import write_section
from qsit_ray.config.presets import space
from qsit_ray.config.search import Adaptive, Space
from qsit_ray.errors import InputError
from qsit_ray.search.adaptive import Observed, Progress, progress, propose
from qsit_ray.surrogate.gaussian_process import posterior

CURVES = 200
GRID = "paper_interpreting_general"
POINT = 0.01  # scores are accuracies; regrets are told in points
BUDGET = 14  # a quarter of the grid's 57

PAPERS = "quartic over ratio"
BY_PROCESS = "Gaussian process"
OVER_LOG = (BY_PROCESS, "quartic over log", "cubic over log")
PROPOSERS = ("even spread", "TPE", "knowledge gradient")

Floats = NDArray[np.float64]
Trials = tuple[Floats, Floats]  # ratios and scores, shape (trials,) each


@dataclass
class Outcomes:
    """What searches of one kind of curve at one noise lost, in units of the score, a number a
    curve: on the full grid and adaptively by surrogate, and with the whole budget by proposer (read
    off by the Gaussian process). `ended`: where each adaptive search stood at its end."""

    kind: Kind
    noise: float
    grid: dict[str, list[float]] = field(default_factory=dict)
    adaptive: dict[str, list[float]] = field(default_factory=dict)
    budget: dict[str, list[float]] = field(default_factory=dict)
    ended: list[Progress] = field(default_factory=list)

    @property
    def best_surrogate(self) -> str:
        """Which one loses least on the full grid: by the median, then by the mean."""
        return min(self.grid, key=lambda s: (np.median(self.grid[s]), np.mean(self.grid[s])))

    @property
    def early(self) -> list[bool]:
        """Which searches ended under the tolerance."""
        return [end.over == "tolerance" for end in self.ended]

    @property
    def bounded(self) -> list[bool]:
        """Which searches lost no more than they said they could."""
        lost = zip(self.adaptive[BY_PROCESS], self.ended, strict=True)
        return [end.regret_left is not None and r <= end.regret_left + 1e-9 for r, end in lost]


def simulated(
    kind: Kind, noise: float, settings: Adaptive, curves: int = CURVES, seed: int = 0
) -> Outcomes:
    """Searches of the first `curves` responses of a kind; a function of the arguments alone."""
    found = Outcomes(kind, noise)
    grid = space(GRID)
    whole = settings.model_copy(update={"tolerance": 1e-12})

    def lose(losses: dict[str, list[float]], name: str, surrogate: str, trials: Trials) -> None:
        losses.setdefault(name, []).append(float(curve.regret(peak(surrogate, *trials))))

    for number, curve in enumerate(family(kind, curves, seed)):
        chance = np.random.default_rng([seed, number, round(noise * 1e6)])
        everywhere = np.repeat(grid.ratios, len(grid.seeds))
        full = everywhere, curve.observed(everywhere, noise, chance)
        for surrogate in (*OVER_LOG, PAPERS):
            lose(found.grid, surrogate, surrogate, full)

        trials, end = searched(curve, noise, settings, grid, chance)
        found.ended.append(end)
        for surrogate in OVER_LOG:
            lose(found.adaptive, surrogate, surrogate, trials)

        if end.over == "tolerance":
            trials, _ = searched(curve, noise, whole, grid, chance)
        lose(found.budget, "knowledge gradient", BY_PROCESS, trials)
        by_tpe = _tried_by_tpe(curve, noise, settings, number, chance)
        lose(found.budget, "TPE", BY_PROCESS, by_tpe)
        evenly = np.geomspace(LOW, HIGH, settings.trials)
        spread = evenly, curve.observed(evenly, noise, chance)
        lose(found.budget, "even spread", BY_PROCESS, spread)
    return found


def searched(
    curve: Curve, noise: float, settings: Adaptive, grid: Space, chance: np.random.Generator
) -> tuple[Trials, Progress]:
    """The trials of one adaptive search of the curve, and where it stood at its end."""
    done: list[Observed] = []
    while points := propose(settings, LOW, HIGH, grid.seeds, 0, done):
        scores = curve.observed([ratio for ratio, _ in points], noise, chance)
        done += [(*point, float(y)) for point, y in zip(points, scores, strict=True)]
    ratios, _, found = np.array(done, dtype=np.float64).T
    return (ratios, found), progress(settings, LOW, HIGH, 0, done)


def peak(surrogate: str, ratios: Floats, scores: Floats) -> float:
    """The ratio at which a surrogate fitted to the trials is greatest."""
    if surrogate == BY_PROCESS:
        return posterior(ratios, scores, LOW, HIGH, points=65).optimum
    # A search that ends early may have too few ratios for the curve.
    degree = min(4 if surrogate.startswith("quartic") else 3, np.unique(ratios).size - 1)
    over_log = surrogate.endswith("log")
    x = np.log(ratios) if over_log else ratios
    low, high = np.log([LOW, HIGH]).tolist() if over_log else (LOW, HIGH)
    fine = np.linspace(low, high, 2001)
    curve = Chebyshev.fit(x, scores, degree, domain=fine[[0, -1]])
    best = fine[np.argmax(curve(fine))]
    return float(np.exp(best)) if over_log else float(best)


def _tried_by_tpe(
    curve: Curve, noise: float, settings: Adaptive, seed: int, chance: np.random.Generator
) -> Trials:
    """The trials of a search by optuna's own default sampler, in rounds as well."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=settings.batch)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    interval: dict[str, Any] = {
        "ratio": optuna.distributions.FloatDistribution(LOW, HIGH, log=True)
    }
    found: list[tuple[float, float]] = []
    while len(found) < settings.trials:
        count = min(settings.batch, settings.trials - len(found))
        trials = [study.ask(interval) for _ in range(count)]
        ratios = [trial.params["ratio"] for trial in trials]
        scores = curve.observed(ratios, noise, chance)
        for trial, score in zip(trials, scores, strict=True):
            study.tell(trial, float(score))
        found += zip(ratios, scores, strict=True)
    tried, seen = np.array(found).T
    return tried, seen


def section(found: list[Outcomes], settings: Adaptive, command: str) -> str:
    """The page's section: what was lost, for how many trials, and how others would have done."""
    curves, batch = len(found[0].ended), settings.batch
    lines = [
        f"{curves} simulated curves of each kind (`evaluation/studies/response_curves.py`), searched from "
        f"ratio {LOW:g} to {HIGH:g} with at most {settings.trials} single trials in rounds of "
        f"{batch}, to a tolerance of {settings.tolerance / POINT:g} points. The full grid is the "
        "paper's, 19 ratios x 3. Regrets are in points, median and mean.",
        "",
        f"`{command}`",
        "",
        "| curve | noise | trials, mean | ended early | grid: paper's quartic over ratio | "
        "grid: best surrogate | adaptive | lost no more than it said (95 %) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        best = row.best_surrogate
        used = np.mean([end.trials for end in row.ended])
        lines.append(
            f"| {row.kind} | {row.noise / POINT:.1f} | {used:.1f} | {_share(row.early)} | "
            f"{_lost(row.grid[PAPERS])} | {_lost(row.grid[best])}, {best} | "
            f"{_lost(row.adaptive[BY_PROCESS])} | {_share(row.bounded)} |"
        )
    lines += [
        "",
        _goal(found, settings.tolerance),
        "",
        "The same searches read off by other curves; and the whole budget, without a tolerance, "
        "spread evenly in log-ratio, proposed by optuna's default sampler (TPE), or by the "
        "knowledge gradient, each read off by the Gaussian process:",
        "",
        f"| curve | noise | {' | '.join(OVER_LOG)} | {' | '.join(PROPOSERS)} |",
        "|---" * (2 + len(OVER_LOG) + len(PROPOSERS)) + "|",
    ]
    for row in found:
        cells = [row.adaptive[s] for s in OVER_LOG] + [row.budget[p] for p in PROPOSERS]
        told = " | ".join(map(_lost, cells))
        lines.append(f"| {row.kind} | {row.noise / POINT:.1f} | {told} |")
    return "\n".join(lines)


def _goal(found: list[Outcomes], tolerance: float) -> str:
    """How the goal was met: single peaks and edges against the full grid, and early ends."""
    rows = [row for row in found if row.kind in ("peak", "edge")]
    words = []
    for name, middle in (("median", np.median), ("mean", np.mean)):
        ours = np.array([middle(row.adaptive[BY_PROCESS]) for row in rows])
        papers = np.array([middle(row.grid[PAPERS]) for row in rows])
        best = np.array([middle(row.grid[row.best_surrogate]) for row in rows])
        words.append(
            f"by the {name} it loses less than the paper's quartic on the full grid in "
            f"{np.sum(ours < papers)} of {len(rows)} rows and as much in {np.sum(ours == papers)}, "
            f"and at the most {np.max(ours - best) / POINT:.3f} points more than the full grid "
            "under its best surrogate"
        )
    text = f"On single peaks and edges the adaptive search does as follows: {'; '.join(words)}."
    ended = [
        lost <= tolerance
        for row in found
        for lost, early in zip(row.adaptive[BY_PROCESS], row.early, strict=True)
        if early
    ]
    if ended:
        text += (
            f" Of all {len(ended)} searches that ended early, {_share(ended)} lost no more than "
            f"{tolerance / POINT:g} points."
        )
    return text


def _lost(regrets: list[float]) -> str:
    return f"{np.median(regrets) / POINT:.3f}, {np.mean(regrets) / POINT:.3f}"


def _share(which: list[bool]) -> str:
    return f"{100 * np.mean(which):.1f} %"


def main(
    out: Annotated[Path, typer.Option(help="The page whose section `adaptive` is written.")],
    curves: Annotated[int, typer.Option(min=1)] = CURVES,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Write what adaptive searches of simulated responses lose, beside the paper's grid."""
    settings = Adaptive(trials=BUDGET)
    found = [simulated(kind, noise, settings, curves, seed) for kind in KINDS for noise in NOISES]
    command = (
        "python -m evaluation.studies.adaptive --out docs/SEARCH.md "
        f"--curves {curves} --seed {seed}"
    )
    try:
        write_section(out, "adaptive", section(found, settings, command))
    except InputError as error:
        print(f"qsit: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    print(f"{out}: {len(found)} rows")


if __name__ == "__main__":
    typer.run(main)
