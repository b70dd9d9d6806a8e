"""pure: an eighth of the paper's trials, compared with all of them, on simulated responses.

Responses and noises are those of `families`, by which nothing was chosen. Writes the section
`eighth` of docs/SEARCH.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qsit_ray.config.presets import paper
from qsit_ray.config.search import Adaptive
from qsit_ray.evaluation.studies.adaptive import BY_PROCESS, PAPERS, peak
from qsit_ray.evaluation.studies.families import FAMILIES, NOISES, log_ratios, response, scores
from qsit_ray.evaluation.studies.response_curves import HIGH, LOW, POINT, Floats
from qsit_ray.evaluation.studies.sections import (
    Count,
    Page,
    Seed,
    command_line,
    table,
    write_section,
)
from qsit_ray.search.adaptive import Observed, Rounds

CURVES = 20  # of each family and noise
TRIALS = 7  # an eighth of the grid's 57
EVEN = 1.0
"""The ratio that a user without a search would take: as many rows of both."""
SEARCHES = ("always ratio 1", "57 trials, paper's quartic", "57 trials", f"{TRIALS} trials")


@dataclass(frozen=True)
class Outcome:
    """The regret of each of SEARCHES on one response, in units of the score."""

    family: str
    noise: str
    regrets: tuple[float, ...]


def simulated(family: str, noise: str, curves: int = CURVES, seed: int = 0) -> list[Outcome]:
    """Searches of the responses of a family; a function of the arguments alone."""
    space = paper().space("interpreting_general")
    grid = np.repeat(space.ratios, len(space.seeds))
    found = []
    for number in range(curves):
        key = [seed, [*FAMILIES].index(family), [*NOISES].index(noise), number]
        chance = np.random.default_rng(key)
        truth = response(family, chance)
        seen = np.array(scores(truth, grid, noise, chance))
        known = np.isfinite(seen)
        done = adaptive(truth, noise, space.seeds, chance)
        picks = (
            EVEN,
            peak(PAPERS, grid[known], seen[known]),
            peak(BY_PROCESS, grid[known], seen[known]),
            peak(BY_PROCESS, *done),
        )
        lost = truth.max() - np.interp(np.log(picks), log_ratios(), truth)
        found.append(Outcome(family, noise, tuple(lost.tolist())))
    return found


def adaptive(
    truth: Floats, noise: str, seeds: tuple[int, ...], chance: np.random.Generator
) -> tuple[Floats, Floats]:
    """Ratios and scores of an adaptive search of so few trials, those that failed left out."""
    settings = Adaptive(trials=TRIALS, tolerance=1e-12)
    rounds = Rounds(settings, LOW, HIGH, seeds, seed=0)
    others = np.repeat(paper().space("interpreting_general").ratios, len(seeds))
    done: list[Observed] = []
    while points := rounds.propose(done):
        ratios = np.array([ratio for ratio, _ in points])
        # Drawn beside a whole grid, so that as few of them are outliers.
        measured = scores(truth, np.concatenate([ratios, others]), noise, chance)[: ratios.size]
        done += [(*point, float(y)) for point, y in zip(points, measured, strict=True)]
    ratios, _, measured = np.array(done, dtype=np.float64).T
    known = np.isfinite(measured)
    return ratios[known], measured[known]


def eighth_table(outcomes: Sequence[Outcome]) -> str:
    """Median and mean regret in points, a row for each family and one for each noise."""
    rows = []
    for kind, names in (("family", FAMILIES), ("noise", NOISES)):
        for name in names:
            lost = np.array([o.regrets for o in outcomes if getattr(o, kind) == name]) / POINT
            middles = zip(np.median(lost, axis=0), lost.mean(axis=0), strict=True)
            rows.append([name, *(f"{middle:.2f}, {mean:.2f}" for middle, mean in middles)])
    return table(["response or noise", *SEARCHES], rows)


def write(out: Page, curves: Count = CURVES, seed: Seed = 0) -> None:
    """An eighth of the paper's trials, on responses that nothing was tuned on."""
    outcomes = [o for f in FAMILIES for n in NOISES for o in simulated(f, n, curves, seed)]
    command = command_line("eighth", curves=curves, seed=seed)
    write_section(out, "eighth", command, eighth_table(outcomes))
