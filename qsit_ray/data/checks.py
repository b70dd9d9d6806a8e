"""pure: what of one's own data is refused, and what is said of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from qsit_ray import artifacts
from qsit_ray.data.audit import LEAK
from qsit_ray.data.catalog import Reject
from qsit_ray.data.pools import Pools
from qsit_ray.errors import InputError

SHOWN = 3
"""Kinds of rejects that are shown for each domain."""
FEW = 30
"""Validation images of a data set below which SRCC has a standard error of about .2."""


def check_domains(found: Pools, images: str, rejects: Path) -> None:
    """Raises InputError with the reasons of a domain without training rows, after writing all
    rejects where they outlast the catalog that is not made."""
    for domain in found.names:
        if found.rows[domain]:
            continue
        artifacts.write_jsonl(rejects, found.rejects)
        mine = [reject for reject in found.rejects if reject["domain"] == domain]
        if not mine:
            raise InputError(f"domain {domain}: its files have no records left to train on")
        raise InputError(
            f"domain {domain}: no record became a training row: {_reasons(mine)}; {_first(mine)} "
            f"(images are below {images}); all: {rejects}"
        )


def check_rejects(found: Pools, most: float, rejects: Path) -> None:
    """Raises InputError where a domain lost more than the share `most` of its records, after
    writing all rejects."""
    for domain in found.names:
        mine = [
            reject
            for reject in found.rejects
            if reject["domain"] == domain and not reject["reason"].startswith(LEAK)
        ]
        records = found.records[domain] + len(mine)
        if len(mine) <= most * records:
            continue
        artifacts.write_jsonl(rejects, found.rejects)
        raise InputError(
            f"domain {domain}: {len(mine):,} of {records:,} records rejected "
            f"({len(mine) / records:.1%}; data.max_rejects is {most:.1%}): {_reasons(mine)}; "
            f"{_first(mine)}; all: {rejects}"
        )


def check_tasks(found: Pools, tasks: Sequence[str]) -> str:
    """How many rows each task is validated on. Raises InputError for a task without any: before a
    trial is paid for."""
    held = found.held_out_rows
    for task in tasks:
        if not held[task]:
            raise InputError(
                f"validation: no row of {task} is held out; raise data.validation_share"
            )
    counts = " and ".join(f"{held[task]:,} rows of {task}" for task in tasks)
    return f"the losses are of {counts}"


def check_validation(found: Pools) -> str:
    """How many images of each data set scoring is validated on.

    Raises InputError where SRCC, a part of the search's objective, could not be computed on one of
    them: before any trial is paid for.
    """
    scores: dict[str, list[float]] = {}
    for image in found.validation_images:
        scores.setdefault(image.get("dataset", ""), []).append(image["mos"])
    if not scores:
        raise InputError("validation: no scoring image is held out; raise data.validation_share")
    for name, of_set in scores.items():
        if len(set(of_set)) < 2:
            raise InputError(
                f"validation: {len(of_set)} images of {name} with one score, on which SRCC is not "
                "defined; raise data.validation_share, or give the data set more rows"
            )
    counts = ", ".join(f"{len(of_set):,} of {name}" for name, of_set in scores.items())
    few = min(map(len, scores.values())) < FEW
    return f"scoring is validated on {counts} images" + (": few, so SRCC is noisy" if few else "")


def wording(found: Pools) -> list[str]:
    """What is to be known of scoring rows that are worded otherwise than images are scored: Eq. 4
    reads the level after the profile's question and stem."""
    question, stem = found.profile.question, found.profile.stem
    count, asked, stems, example = 0, 0, 0, ""
    for rows in found.drafted("scoring", ["conversation", "level"]):
        count += len(rows)
        asked += sum(row["conversation"][0]["value"] != question for row in rows)
        answers = [(row["conversation"][-1]["value"].strip(), row["level"]) for row in rows]
        others = [text for text, level in answers if text != f"{stem} {level}."]
        stems += len(others)
        example = example or next(iter(others), "")
    lines = []
    if stems:
        lines.append(
            f"{stems:,} of {count:,} scoring answers are not worded as scores are read "
            f'("{stem} …."), such as {example!r:.80}'
        )
    if asked:
        lines.append(
            f"{asked:,} of {count:,} scoring rows ask another question than the one that "
            "scores images"
        )
    return lines


def summary(found: Pools, rejects: Path) -> list[str]:
    """Rows and rejects, and the kinds of rejects by domain."""
    lines = [f"{sum(found.rows.values()):,} training rows; rejects: {len(found.rejects):,}"]
    for domain in found.names:
        mine = [reject for reject in found.rejects if reject["domain"] == domain]
        if mine:
            counts = f"{found.rows[domain]:,} training rows; rejects: {len(mine):,}"
            lines.append(f"  {domain}: {counts}, {_reasons(mine)}")
    return [*lines, f"  all rejects: {rejects}"] if found.rejects else lines


def _reasons(rejects: Sequence[Reject]) -> str:
    """The commonest kinds of rejects with their numbers."""
    kinds = Counter(reject["reason"].partition(":")[0] for reject in rejects)
    shown = [f"{count:,} × {kind}" for kind, count in kinds.most_common(SHOWN)]
    others = len(rejects) - sum(count for _, count in kinds.most_common(SHOWN))
    return ", ".join([*shown, *([f"{others:,} others"] if others else [])])


def _first(rejects: Sequence[Reject]) -> str:
    first = rejects[0]
    return f"the first: {first['file']}, record {first['record']}: {first['reason']}"
