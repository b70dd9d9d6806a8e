"""pure: D1 and test tables made of labels, for training and evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from qsit_ray import artifacts, soft_levels, tables
from qsit_ray.data.labels import Label, Labels
from qsit_ray.errors import InputError
from qsit_ray.levels import Conversion, Range, mos_to_levels
from qsit_ray.prompts import PAPER, Profile

RECORDS, TABLE = (".json", ".jsonl"), ".csv"
TEST, VALIDATION = "test", "validation"


@dataclass(frozen=True)
class Made:
    """What was made of labels: rows in = `rows` out + `rejects`, by reason. `levels`: the
    conversion of D1's scores, None for a test table."""

    rows: list[dict[str, Any]]
    rejects: Counter[str] = field(default_factory=Counter)
    levels: Conversion | None = None


def records(
    labels: Labels, range_: Range, split: str | None = None, profile: Profile = PAPER
) -> Made:
    """D1's records of labels, in LLaVA's shape with Q-SIT's ids, worded as the `profile`.

    The levels follow Eq. 1 over the kept rows. Where a row has votes, or a deviation, its record
    has `level_probs`, the shares of the levels from bad to excellent. DMOS are mirrored at the
    middle of their scale, so that the MOS in an id rises with quality. Raises InputError for a
    range that the scores do not have.
    """
    kept, rejects = _kept(labels, split)
    if not kept:
        return Made([], rejects)
    scores = [float(row.mos or 0.0) for row in kept]
    levels = mos_to_levels(scores, range_, lower_better=labels.lower_better)
    made = []
    for row, mos, word in zip(
        kept, _rising(labels, scores, levels), levels.words(profile.words), strict=True
    ):
        if word is None:
            rejects[f"no level in {range_.name} for a MOS of {levels.high:g} and more"] += 1
            continue
        shares = _shares(row, levels, labels.lower_better)
        made.append(
            {
                "id": f"{Path(row.image).name}->{mos!r}",
                "image": row.image,
                "dataset": labels.dataset,
                **({"level_probs": shares} if shares else {}),
                **({"reference": row.reference} if row.reference else {}),
                "conversations": [
                    {"from": "human", "value": profile.question},
                    {"from": "gpt", "value": f"{profile.stem} {word}."},
                ],
            }
        )
    return Made(made, rejects, levels)


def _shares(row: Label, levels: Conversion, lower_better: bool) -> list[float] | None:
    """The votes, or the Gaussian of score and deviation, as shares of the levels."""
    found: list[float] | None = None
    if row.votes is not None:
        found = list(row.votes)
    elif row.std is not None and row.mos is not None:
        found = soft_levels.from_opinion(row.mos, row.std, levels.low, levels.high).tolist()
    return found[::-1] if found and lower_better else found


def table(labels: Labels, split: str | None = None) -> Made:
    """The rows `image`, `mos` of a test set. DMOS are mirrored, as in `records`."""
    kept, rejects = _kept(labels, split)
    scores = _rising(labels, [float(row.mos or 0.0) for row in kept], None)
    rows = [{"image": row.image, "mos": mos} for row, mos in zip(kept, scores, strict=True)]
    return Made(rows, rejects)


def hold_out(labels: Labels, share: float, seed: int) -> Labels:
    """The labels with `share` of their images in the test split, drawn by `seed` from those that
    are not for validation, unless they have one. Images of one reference stay together."""
    if any(row.split == TEST for row in labels.rows):
        return labels
    free = [row for row in labels.rows if row.split != VALIDATION]
    groups = list(dict.fromkeys(row.reference or row.image for row in free))
    order = np.random.default_rng([seed, len(groups)]).permutation(len(groups))
    held = {groups[place] for place in order[: round(share * len(groups))]}
    rows = [
        replace(row, split=TEST)
        if row.split != VALIDATION and (row.reference or row.image) in held
        else replace(row, split=row.split or "training")
        for row in labels.rows
    ]
    return replace(labels, rows=rows)


def _kept(labels: Labels, split: str | None) -> tuple[list[Label], Counter[str]]:
    """The rows with a score of a split; by default all but those of the test split."""
    rejects: Counter[str] = Counter()
    kept = []
    for row in labels.rows:
        if row.mos is None:
            rejects["no score"] += 1
        elif split is None and row.split == TEST:
            rejects["of the test split"] += 1
        elif split not in (None, "all", row.split):
            rejects[f"not of the {split} split"] += 1
        else:
            kept.append(row)
    return kept, rejects


def _rising(labels: Labels, scores: Sequence[float], levels: Conversion | None) -> Sequence[float]:
    if not labels.lower_better:
        return scores
    low = labels.low if labels.low is not None else levels.low if levels else min(scores)
    high = labels.high if labels.high is not None else levels.high if levels else max(scores)
    return [low + high - score for score in scores]


def write(path: Path, made: Made) -> None:
    """Write D1's records as .json or .jsonl, or a test table as .csv.

    Raises InputError for no rows, another ending, or a file that can't be written.
    """
    if not made.rows:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in made.rejects.items())
        raise InputError(f"{path}: no row is left to write ({reasons or 'the table is empty'})")
    try:
        if path.suffix == TABLE:
            tables.write(path, {name: [row[name] for row in made.rows] for name in made.rows[0]})
        elif path.suffix == ".jsonl":
            artifacts.write_jsonl(path, made.rows)
        else:
            artifacts.write_json(path, made.rows)
    except OSError as error:
        raise InputError(f"{path}: can't write it: {error}") from None
