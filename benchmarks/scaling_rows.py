"""rim: CPU time over the number of rows: a catalog, an epoch's plan, the metrics of a csv."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.figures import Check, Curve, Found, Point, alone
from benchmarks.million_rows import evaluated, write_predictions
from benchmarks.pairs import fresh

TEXT = "growth with rows: catalog, plan of an epoch, `qsit evaluate iqa`"
CATALOG, PLAN, EVALUATE = "build of a catalog", "plan of an epoch", "qsit evaluate iqa"


def run(smoke: bool, folder: Path) -> Found:
    counts = (300, 900) if smoke else (10**4, 10**5, 10**6)
    lines: dict[str, list[Point]] = {CATALOG: [], EVALUATE: [], PLAN: []}
    checks = []
    for rows in counts:
        built, planned = (
            fresh(function, {"rows": rows}, inside=smoke).result
            for function in ("benchmarks.catalogs:measured", "benchmarks.plans:ours")
        )
        scored = evaluated(write_predictions(folder / f"{rows}.csv", rows))
        for name, seconds in (
            (CATALOG, built["build"]),
            (EVALUATE, scored.cpu),
            (PLAN, planned["cpu"]),
        ):
            lines[name].append((float(rows), seconds))
        held = built["rows"], planned["rows"][-1], json.loads(scored.result)["rows"]
        checks.append(Check(f"{rows:,} rows: none is lost", held == (rows,) * 3, str(held)))
    few, many = counts[-2:]
    return Found(
        [
            alone(f"{name}, CPU s of {many:,} rows over {few:,}", "×", [line[-1][1] / line[-2][1]])
            for name, line in lines.items()
        ],
        checks,
        {"rounds": 1, "records": "as of the question of catalogs", "csv": "as of the million rows"},
        curve=Curve("Rows", "rows", "CPU seconds", lines),
    )
