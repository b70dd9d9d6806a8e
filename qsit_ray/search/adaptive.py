"""pure: an adaptive search: the next ratios to try from the scores so far, and when to stop.

Everything is a function of the settings, the interval, the seeds and the scores: a search that was
interrupted goes on exactly as it would have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from qsit_ray.config import Adaptive
from qsit_ray.errors import InputError

Point = tuple[float, int]
Observed = tuple[float, int, float | None]

CONFIDENCE = 0.95
DRAWS = 1000
# Two trials at the ends and one between them are the least that show a response.
_LEAST_SPREAD = 3


@dataclass(frozen=True)
class Progress:
    """Where a search stands. `best`: the ratio with the greatest mean score, null before three
    scores are there, and then `regret_left`: what it may lose against the true best at the most,
    with probability CONFIDENCE, in units of the score. `over`: why no trial follows, null while
    some do. `trials`: those that ended, with a score or without."""

    trials: int
    best: float | None
    regret_left: float | None
    over: Literal["tolerance", "budget"] | None


def propose(
    settings: Adaptive,
    low: float,
    high: float,
    seeds: Sequence[int],
    seed: int,
    done: Iterable[Observed],
) -> list[Point]:
    """The (ratio, seed) points of the next round, none when the search is over.

    `done`: all earlier points in the order proposed, with their scores; None where a trial failed,
    as which a score that is no number counts too. Ratios lie from `low` to `high`, on a grid of
    four-digit numbers even in log-ratio. Trials take `seeds` in turn, and a ratio that comes again
    one that it has not had.

    Raises InputError when there are fewer such points than `settings.trials`.
    """
    import optuna  # lazily: half a second

    from qsit_ray.search.sampler import PLACES, KnowledgeGradient

    done = _finite(done)
    most = PLACES * len(seeds)
    if settings.trials > most:
        raise InputError(
            f"search.adaptive.trials: {settings.trials}; {len(seeds)} seeds allow {most} at the "
            "most: give the axis more seeds"
        )
    if progress(settings, low, high, seed, done).over:
        return []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = KnowledgeGradient(max(settings.batch, _LEAST_SPREAD), repeats=len(seeds))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    interval = optuna.distributions.FloatDistribution(low, high, log=True)
    for ratio, _, score in done:
        state = optuna.trial.TrialState.FAIL if score is None else optuna.trial.TrialState.COMPLETE
        study.add_trial(
            optuna.trial.create_trial(
                params={"ratio": ratio},
                distributions={"ratio": interval},
                value=score,
                state=state,
            )
        )
    points: list[Point] = [(ratio, used) for ratio, used, _ in done]
    for _ in range(min(settings.batch, settings.trials - len(done))):
        ratio = study.ask({"ratio": interval}).params["ratio"]
        points.append((ratio, _unused(ratio, seeds, points)))
    return points[len(done) :]


def progress(
    settings: Adaptive, low: float, high: float, seed: int, done: Iterable[Observed]
) -> Progress:
    """Where a search stands after the trials `done`; arguments as `propose`."""
    from qsit_ray.search.sampler import ENOUGH, response

    done = _finite(done)
    ratios = [ratio for ratio, _, score in done if score is not None]
    scores = [score for _, _, score in done if score is not None]
    best, left = None, None
    if len(scores) >= ENOUGH:
        known = response(ratios, scores, low, high)
        at = int(np.argmax(known.mean))
        drawn = known.samples(DRAWS, seed)
        best = known.optimum
        left = float(np.quantile(drawn.max(axis=1) - drawn[:, at], CONFIDENCE))
    over: Literal["tolerance", "budget"] | None = None
    if left is not None and left <= settings.tolerance:
        over = "tolerance"
    elif len(done) >= settings.trials:
        over = "budget"
    return Progress(len(done), best, left, over)


def _finite(done: Iterable[Observed]) -> list[Observed]:
    """Scores that are no number become None."""
    return [
        (ratio, seed, score if score is not None and np.isfinite(score) else None)
        for ratio, seed, score in done
    ]


def _unused(ratio: float, seeds: Sequence[int], points: Sequence[Point]) -> int:
    """The seed whose turn it is, or the next that this ratio has not had."""
    had = {used for other, used in points if other == ratio}
    turn = len(points) % len(seeds)
    return next(s for s in [*seeds[turn:], *seeds[:turn]] if s not in had)
