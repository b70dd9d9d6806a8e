"""rim: a catalog of ten million rows, of more than 2 GiB of text, opened and read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.figures import Check, Found, Goal, alone
from benchmarks.pairs import fresh

TEXT = "catalog of 10,000,000 rows"
TWO_GIB = 2 * 2**30


def run(smoke: bool, folder: Path) -> Found:
    few, many = (300, 600) if smoke else (100_000, 10_000_000)
    small, large = (
        fresh("benchmarks.catalogs:measured", {"rows": rows}, inside=smoke).result
        for rows in (few, many)
    )
    checks = []
    if not smoke:
        held = large["size"] > TWO_GIB
        checks.append(Check("over 2 GiB of text", held, f"{large['size'] / 2**30:.1f} GiB"))
    ms = {name: 1000 * large[name] for name in ("opening", "take")}
    flat = Goal(2, at_most=True)
    over = {name: large[name] / small[name] for name in ("opening", "take")}
    return Found(
        [
            alone(f"{TEXT}: open, CPU", "ms", [ms["opening"]]),
            alone(f"the same over that of {few:,} rows", "×", [over["opening"]], flat),
            alone(f"{TEXT}: take 1,000 rows, CPU", "ms", [ms["take"]]),
            alone(f"the same over those of {few:,} rows", "×", [over["take"]], flat),
        ],
        checks,
        {"records, GB": round(large["size"] / 1e9, 2), "build, CPU s": round(large["build"], 1)},
    )


def measured(rows: int) -> dict[str, Any]:
    """The study's figures of one size."""
    from qsit_ray.evaluation.studies.catalog_size import measured as of

    return asdict(of(rows))
