"""pure: the metrics of a csv of a million rows with intervals, beside pandas and scipy without."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

from benchmarks.bootstraps import columns
from benchmarks.figures import Found, Goal, faster, near
from benchmarks.pairs import QSIT, Run, command, cores, cpus, in_turn, walls

TEXT = "`qsit evaluate iqa` on 1,000,000 rows of csv"
RIVAL = "pandas + scipy, no intervals"
SCRIPT = """
import json, sys
import numpy as np, pandas as pd
from scipy.stats import kendalltau, pearsonr, spearmanr
table = pd.read_csv(sys.argv[1])
y, x = table["mos"], table["score"]
rmse = float(np.sqrt(((y - x) ** 2).mean()))
print(json.dumps([float(f(y, x)[0]) for f in (spearmanr, pearsonr, kendalltau)] + [rmse]))
"""


def run(smoke: bool, folder: Path) -> Found:
    rows, rounds = (2_000, 1) if smoke else (10**6, 3)
    file = write_predictions(folder / "predictions.csv", rows)
    found = in_turn(
        {
            "ours": partial(evaluated, file),
            "theirs": partial(command, [sys.executable, "-c", SCRIPT, file]),
        },
        rounds,
    )
    printed = json.loads(found["ours"][0].result)
    ours = [printed[name] for name in ("srcc", "plcc", "krcc", "rmse")]
    theirs = json.loads(found["theirs"][0].result)
    return Found(
        [
            faster(TEXT, RIVAL, walls(found["ours"]), walls(found["theirs"]), Goal(0.5)),
            faster(f"{TEXT}, CPU", RIVAL, cpus(found["ours"]), cpus(found["theirs"]), None),
        ],
        [near("SRCC, PLCC, KRCC and RMSE", ours, theirs, 1e-6)],
        {"rows": rows, "rounds": rounds, "cores": cores(), "start of both": "counted"},
    )


def write_predictions(file: Path, rows: int) -> Path:
    """A csv with an image, its truth and its score a row."""
    import pandas as pd

    truth, prediction = columns(rows)
    names = [f"image-{number}.jpg" for number in range(rows)]
    pd.DataFrame({"image": names, "mos": truth, "score": prediction}).to_csv(file, index=False)
    return file


def evaluated(file: Path) -> Run:
    """A run of `qsit evaluate iqa` on it, which prints JSON."""
    asked = ("--predictions", file, "--id", "image", "--truth", "mos", "--score", "score", "--json")
    return command([*QSIT, "evaluate", "iqa", *asked])
