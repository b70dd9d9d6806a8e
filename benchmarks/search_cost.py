"""pure: trials that a search needs for the regret of the paper's grid, on simulated responses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.figures import Found, Goal, alone

TEXT = "search cost for the regret of the paper's grid"
PAPER = "57 trials, paper's quartic"
SAME_FIT = "57 trials"
"""The whole grid, read by the fit that the few trials are read by."""


def run(smoke: bool, folder: Path) -> Found:
    from qsit_ray.evaluation.studies.eighth import SEARCHES, TRIALS, simulated
    from qsit_ray.evaluation.studies.families import FAMILIES, NOISES
    from qsit_ray.evaluation.studies.response_curves import POINT

    families, noises = (list(FAMILIES)[:1], list(NOISES)[:1]) if smoke else (FAMILIES, NOISES)
    curves = 1 if smoke else 20
    outcomes = [o for f in families for n in noises for o in simulated(f, n, curves)]
    regrets = np.array([o.regrets for o in outcomes]) / POINT
    of = dict(zip(SEARCHES, regrets.mean(axis=0).tolist(), strict=True))
    middle = dict(zip(SEARCHES, np.median(regrets, axis=0).tolist(), strict=True))
    ours = f"{TRIALS} trials"
    equal = of[ours] <= of[PAPER] and middle[ours] <= middle[PAPER]
    cost = TRIALS / 57 if equal else 1.0
    return Found(
        [
            alone(TEXT, "of its trials", [cost], Goal(0.125, at_most=True)),
            alone(f"mean regret of {ours}", "points", [of[ours]]),
            alone(f"mean regret of {PAPER}", "points", [of[PAPER]]),
            alone(f"mean regret of {SAME_FIT}, our fit", "points", [of[SAME_FIT]]),
        ],
        [],
        {
            "curves": curves,
            "responses": len(outcomes),
            "equal": "mean and median regret are at most the grid's",
            "median regret, ours": round(middle[ours], 4),
            "median regret, paper's": round(middle[PAPER], 4),
        },
    )
