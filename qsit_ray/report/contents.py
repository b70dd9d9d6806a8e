"""pure: what a run's data are: rows, data sets, what was refused, and what an audit found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.data.catalog import Manifest
from qsit_ray.errors import InputError

MOST_REASONS = 12
"""Kinds of refused records that are shown; the others are counted together."""


@dataclass(frozen=True)
class Contents:
    """The manifest; training rows by domain and data set; refused records by file and reason, the
    most frequent first; findings of an audit: kind, count and examples, None where there was none.
    """

    manifest: Manifest
    datasets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    rejects: tuple[tuple[str, str, int], ...] = ()
    rejected: int = 0
    findings: tuple[tuple[str, int, tuple[str, ...]], ...] | None = None


def contents(run: RunFolder) -> Contents | None:
    """None before the catalog is built. Raises InputError naming a file that can't be read."""
    if not (run.catalog / "manifest.json").exists():
        return None
    refused = _rejects(run.catalog / "rejects.jsonl")
    return Contents(
        Manifest.read(run.catalog),
        _datasets(run.catalog / "rows.parquet"),
        tuple((file, kind, count) for (file, kind), count in refused.most_common(MOST_REASONS)),
        refused.total(),
        _findings(run.path / "audit.json"),
    )


def _datasets(path: Path) -> dict[str, dict[str, int]]:
    if not path.exists():  # a rehearsal's catalog counts rows alone
        return {}
    try:
        table = pq.read_table(path, columns=["domain", "dataset"])
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: can't read the catalog: {error}") from None
    rows = table.group_by(["domain", "dataset"], use_threads=False).aggregate([([], "count_all")])
    found: dict[str, dict[str, int]] = {}
    for row in rows.to_pylist():
        of_domain = found.setdefault(row["domain"], {})
        of_domain[row["dataset"] or "not named"] = row["count_all"]
    return found


def _rejects(path: Path) -> Counter[tuple[str, str]]:
    lines = artifacts.read_jsonl(path) if path.exists() else []
    # The part of a reason before a colon is its kind.
    return Counter((line["file"], line["reason"].partition(":")[0]) for line in lines)


def _findings(path: Path) -> tuple[tuple[str, int, tuple[str, ...]], ...] | None:
    """Of `qsit data audit RUN --json`, kept as audit.json."""
    if not path.exists():
        return None
    content = artifacts.read_json(path)
    try:
        return tuple(
            (each["kind"], each["count"], tuple(each["examples"])) for each in content["findings"]
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not what an audit prints with --json: {error}") from None
