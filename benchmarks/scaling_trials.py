"""rim: the time of a search over its number of trials, which take no time: what Tune, the records
and the plans take."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures import Check, Curve, Found, Point, alone
from benchmarks.pairs import QSIT, command
from qsit_ray.artifacts import RunFolder
from qsit_ray.search.records import finished, folder_of, outcome_file

TEXT = "growth with trials: a search whose trials take no time"
AXIS, RATIOS = "interpreting_general", 19
"""Of the paper's grid."""
SETTINGS = (
    "search.gpus_per_trial=0",
    "search.nodes={}",
    "search.cpus_per_trial=0.5",
    "search.rehearsal.rows_per_second=1e12",
)


def run(smoke: bool, folder: Path) -> Found:
    if smoke:
        return Found(missing="a search, as the tests run it")
    ended = {RATIOS * count: searched(folder / str(count), count) for count in (1, 3, 10, 30)}
    points: list[Point] = [(float(n), max(times) - min(times)) for n, times in ended.items()]
    what = "a trial that takes no time, in a search of"
    return Found(
        [alone(f"{what} {n:,.0f}", "s", [seconds / (n - 1)]) for n, seconds in points],
        [Check(f"{n} trials: none is lost", len(x) == n, str(len(x))) for n, x in ended.items()],
        {
            "rounds": 1,
            "ratios": RATIOS,
            "CPUs of a trial": 0.5,
            "from": "first outcome to last",
        },
        curve=Curve("Trials", "trials of a search", "seconds", {"trials of no time": points}),
    )


def searched(path: Path, repeats: int) -> list[float]:
    """The times at which the trials of a search of the rehearsal ended, in seconds."""
    made = RunFolder(path)
    asked = (*SETTINGS, f"search.{AXIS}.seeds={list(range(repeats))}")
    options = [word for setting in asked for word in ("--set", setting)]
    command([*QSIT, "data", "build", path, "--preset", "rehearsal", *options])
    command([*QSIT, "search", "run", path])
    records = folder_of(made, AXIS, None)
    return [outcome_file(records, *point).stat().st_mtime for point in finished(records)]
