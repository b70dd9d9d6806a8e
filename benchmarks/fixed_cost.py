"""rim: what a trial costs before its first step, in a reused process and in a fresh one."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bases import write_tiny
from benchmarks.figures import Found, Goal, ratio
from benchmarks.pairs import fresh
from benchmarks.rows import make_run

TEXT = "fixed cost of a trial"


def run(smoke: bool, folder: Path) -> Found:
    if smoke:
        return Found(missing="both ways run the same function; nothing to compare")
    from qsit_ray.evaluation.studies.trial_cost import FRESH, REUSED

    trials = 6
    made = make_run(
        folder,
        write_tiny(folder / "base", "proxy"),
        32,
        *("search.max_steps=1", "search.evaluate_every=1", "search.patience=1"),
    )
    found = fresh("benchmarks.fixed_cost:costs", {"run": str(made.path), "trials": trials}).result
    ours, theirs = found[REUSED][1:], found[FRESH][1:]
    return Found(
        [ratio(TEXT, "a fresh process a trial", "s", ours, theirs, Goal(0.01, at_most=True))],
        [],
        {"trials": trials, "counted": "those after the first"},
    )


def costs(run: str, trials: int) -> dict[str, list[float]]:
    """Seconds before the first step of each trial, by way."""
    from qsit_ray import pipeline
    from qsit_ray.artifacts import RunFolder
    from qsit_ray.evaluation.studies.trial_cost import measure
    from qsit_ray.run_config import opened
    from qsit_ray.terminal import quiet

    folder = RunFolder(Path(run))
    config = opened(folder)
    with quiet(folder.log) as terminal, pipeline.ray_session(config, terminal):
        return measure(folder, config, trials)
