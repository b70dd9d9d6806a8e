"""pure: SRCC with its interval of many rows, beside scipy's function in a loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.figures import Check, Figure, Found, Goal, faster, near
from benchmarks.pairs import fresh

TEXT = "SRCC with a bootstrap interval"
RIVAL = "scipy in a loop"
RESAMPLES = 1000
GOALS = {10**5: Goal(27), 10**6: Goal(205)}


def run(smoke: bool, folder: Path) -> Found:
    figures: list[Figure] = []
    checks: list[Check] = []
    for rows, drawn in ((500, RESAMPLES),) if smoke else ((10**5, 100), (10**6, 20)):
        rounds = 1 if smoke else 3
        given = {"rows": rows, "drawn": drawn, "rounds": rounds}
        found = fresh("benchmarks.bootstraps:sides", given, inside=smoke).result
        what = f"{TEXT}, {rows:,} rows"
        figures.append(faster(what, RIVAL, found["ours"], found["theirs"], GOALS.get(rows)))
        checks.append(near(f"{rows:,} rows: SRCC", found["srcc"][0], found["srcc"][1], 1e-9))
        wide, narrow = max(found["widths"]), min(found["widths"])
        apart = f"{found['widths'][0]:.2e} and {found['widths'][1]:.2e}"
        # The width of an interval from `drawn` resamples varies by about its root.
        near_enough = wide / narrow <= 1 + 5 / drawn**0.5
        checks.append(Check(f"{rows:,} rows: the interval's width", near_enough, apart))
    return Found(
        figures,
        checks,
        {
            "ours": "all six metrics, 400 to 1,000 resamples of at most 5,000 rows (m out of n)",
            "scipy": f"SRCC of all rows, {RESAMPLES:,} resamples, scaled from 100 and 20",
            "noise": "truth + normal noise, 100 levels",
        },
    )


def columns(rows: int) -> tuple[Any, Any]:
    """A truth of 1 to 5 in steps, and a prediction."""
    import numpy as np

    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 5, rows).round(2)
    return truth, (truth + rng.normal(0, 0.8, rows)).round(4)


def sides(rows: int, drawn: int, rounds: int) -> dict[str, Any]:
    """Seconds of both, scipy's scaled to all resamples; both SRCCs and interval widths."""
    import numpy as np
    from scipy.stats import spearmanr

    from benchmarks.pairs import in_turn, timed, walls
    from qsit_ray.evaluation.iqa import score_predictions

    truth, prediction = columns(rows)

    def by_scipy() -> list[float]:
        rng = np.random.default_rng(0)
        found = []
        for _ in range(drawn):
            at = rng.integers(rows, size=rows)
            found.append(float(spearmanr(truth[at], prediction[at]).statistic))
        return found

    score_predictions(truth[:100], prediction[:100])
    found = in_turn(
        {
            "ours": lambda: timed(lambda: score_predictions(truth, prediction)),
            "theirs": lambda: timed(by_scipy),
        },
        rounds,
    )
    result = found["ours"][0].result
    low, high = result.intervals["srcc"]
    ends = np.quantile(found["theirs"][0].result, [0.025, 0.975])
    return {
        "ours": walls(found["ours"]),
        "theirs": [RESAMPLES / drawn * wall for wall in walls(found["theirs"])],
        "srcc": [result.srcc, float(spearmanr(truth, prediction).statistic)],
        "widths": [high - low, float(ends[1] - ends[0])],
    }
