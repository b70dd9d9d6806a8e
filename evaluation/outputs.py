"""pure: from other people's raw outputs to the benchmarks' figures; no model, no Ray.

Every function takes tables or files and returns what the command line prints as JSON: finite
numbers, and null with a reason where a figure is undefined. Rows in messages and lists are data
rows, the first is 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation import iqa
from qsit_ray import tables
from qsit_ray.errors import InputError
from qsit_ray.levels import (
    LEVELS,
    Boundary,
    Range,
    expected_score,
    mos_to_levels,
    two_level_margin,
    two_level_score,
)
from qsit_ray.tables import Table

Floats = NDArray[np.float64]

# Q-Bench divides the logits by this before the softmax.
QBENCH_TEMPERATURE = 100.0
# What the columns are usually called, for `compare`, whose files need no options then.
IDS = ("id", "image", "img_path", "image_path", "filename", "file_name", "name", "key")
TRUTHS = ("truth", "mos", "gt_score", "gt_mos", "gt")
SCORES = ("score", "prediction", "pred", "pred_mos", "pred_score")
# Equal scores may come out some 1e-15 apart, and otherwise on another machine; ranks go by this
# many decimals, so that they tie.
_DECIMALS = 12


@dataclass(frozen=True)
class Scoring:
    """Where a prediction comes from: exactly one of a score column, level logits, two levels.

    `logits` and `two_level` are {word: column}. Five logits under the paper's words take Eq. 2's
    numbers in any order; any other words take weights evenly from 1 to 5 in their order.
    """

    score: str | None = None
    logits: Mapping[str, str] | None = None
    two_level: Mapping[str, str] | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        given = [way for way in (self.score, self.logits, self.two_level) if way is not None]
        if len(given) != 1:
            raise InputError("say one of --score COL, --logits WORD=COL,... and --two-level ...")
        if self.logits is not None and len(self.logits) < 2:
            raise InputError("--logits needs two level words or more, from the worst to the best")
        if self.two_level is not None and set(self.two_level) != {"good", "poor"}:
            raise InputError(
                "--two-level needs good=COL,poor=COL (whatever the columns are called)"
            )
        if self.temperature is not None and self.two_level is None:
            raise InputError("--temperature belongs to --two-level")

    def of(self, table: Table) -> tuple[Floats, Floats, dict[str, Any]]:
        """(prediction, what SRCC and KRCC rank on, how both came about); shapes (rows,)."""
        if self.score is not None:
            score = table.numbers(self.score)
            return score, score, {"score": self.score, "ranked_on": "the score"}
        if self.two_level is not None:
            good, poor = (table.numbers(self.two_level[word]) for word in ("good", "poor"))
            temperature = QBENCH_TEMPERATURE if self.temperature is None else self.temperature
            score = two_level_score(good, poor, temperature)
            how = {"two_level": dict(self.two_level), "temperature": temperature}
            margin = two_level_margin(good, poor)
            return score, margin, how | {"ranked_on": "the logit margin good - poor"}
        words = dict(self.logits or {})
        if set(words) == set(LEVELS):
            words = {word: words[word] for word in LEVELS}
        weights = np.linspace(1, 5, len(words))
        logits = np.column_stack([table.numbers(column) for column in words.values()])
        score = expected_score(logits, weights)
        how = {"logits": words, "weights": weights.tolist()}
        if len(words) == 2:
            margin = two_level_margin(logits[:, 1], logits[:, 0])
            return score, margin, how | {"ranked_on": "the logit margin of the two words"}
        told = f"the score of Eq. 5 in float64, to {_DECIMALS} decimals"
        return score, np.round(score, _DECIMALS), how | {"ranked_on": told}


def words(text: str, option: str) -> dict[str, str]:
    """`bad=COL,poor=COL` as {word: column}. Raises InputError that quotes a part without both."""
    found: dict[str, str] = {}
    for part in text.split(","):
        word, _, column = (piece.strip() for piece in part.partition("="))
        if not word or not column:
            raise InputError(f"{option}: {part!r} must be WORD=COLUMN")
        if word in found:
            raise InputError(f"{option}: {word!r} is there twice")
        found[word] = column
    return found


def levels(
    path: Path,
    *,
    id_column: str,
    mos_column: str,
    range_text: str,
    boundary: Boundary | None,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """MOS to level words (Eq. 1): (the figures of Table II, the columns id, mos, level).

    `rows` = rows written + `rejected`; a reject has a MOS for which the released rule has no
    level. srcc and plcc are of the level numbers against the MOS, over the rows written. Raises
    InputError for a MOS that is missing and an id that repeats, by row.
    """
    scale = Range.parse(range_text)
    table = tables.read(path)
    ids, mos = table.ids(id_column), table.numbers(mos_column)
    try:
        found = mos_to_levels(mos, scale, boundary)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    kept = np.flatnonzero(found.levels > 0)
    figures = iqa.evaluate(
        mos[kept], found.levels[kept].astype(np.float64), seed=seed, confidence=confidence
    )
    level_words = found.words()
    shown = ("srcc", "plcc")
    why = f"MOS of {found.high:g} and more have no level in the release"
    return {
        "rows": table.rows,
        "written": int(kept.size),
        "range": range_text,
        "boundary": found.boundary,
        "low": found.low,
        "high": found.high,
        "clipped": found.clipped,
        "rejected": found.rejected,
        "rejected_rows": [
            {"row": int(row) + 1, "id": ids[row], "mos": float(mos[row]), "reason": why}
            for row in np.flatnonzero(found.levels == 0)
        ],
        **{name: figures[name] for name in shown},
        "intervals": {name: figures["intervals"][name] for name in shown},
        "reasons": {name: w for name, w in figures["reasons"].items() if name in shown},
        "counts": found.counts(),
        "confidence": confidence,
        "seed": seed,
    }, {
        "id": [ids[row] for row in kept],
        "mos": mos[kept].tolist(),
        "level": [level_words[row] for row in kept],
    }


def score_iqa(
    path: Path,
    scoring: Scoring,
    *,
    id_column: str,
    truth_column: str,
    by: str | None = None,
    trained_on: Sequence[str] | None = None,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """SRCC, PLCC, KRCC and RMSE of a table of predictions: overall (also at the top) and by group.

    With `by`, an id must be unique within its group only, and `average_of_groups` is the paper's
    mean. With `trained_on` (group names) each group has a `setting`, intra or cross, and
    `table_iv` has Table IV's rows. Raises InputError for a value that is missing, by row.
    """
    table = tables.read(path)
    names = None if by is None else table.labels(by)
    table.ids(id_column, within=names)
    truth = table.numbers(truth_column)
    prediction, rank_on, how = scoring.of(table)
    result = iqa.evaluate(
        truth, prediction, rank_on=rank_on, groups=names, seed=seed, confidence=confidence
    )
    groups = result.pop("by_group", {})
    average = result.pop("average_of_groups", None)
    found: dict[str, Any] = {**result, "overall": result, "groups": groups}
    if by is not None:
        found["average_of_groups"] = average
    if trained_on is not None:
        if by is None:
            raise InputError("--trained-on needs --by COL, the column of dataset names")
        for name, group in groups.items():
            group["setting"] = "intra" if name in trained_on else "cross"
        found["table_iv"] = iqa.table_iv({path.stem: groups}, {path.stem: trained_on})
    return found | how | {"seed": seed}


def compare_iqa(
    a: Path,
    b: Path,
    scoring: Scoring | None = None,
    *,
    id_column: str | None = None,
    truth_column: str | None = None,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Two tables of predictions, a - b, over the ids in both; the headline is SRCC.

    Columns that are not named are found by their usual names. The truth is read from A; where B
    has it too it must be the same. Raises InputError where it is not, and without common ids.
    """
    ids: list[list[str]] = []
    columns: list[tuple[Floats, Floats]] = []
    truths: list[Floats | None] = []
    for path in (a, b):
        table = tables.read(path)
        ids.append(table.ids(id_column or table.first_of("--id COL", IDS, several=True)))
        way = scoring or Scoring(score=table.first_of("--score COL", SCORES))
        columns.append(way.of(table)[:2])
        wanted = (truth_column,) if truth_column else TRUTHS
        there = any(name in table.names for name in wanted)
        # A table without the truth is enough for B.
        needed = there or path is a
        truths.append(table.numbers(table.first_of("--truth COL", wanted)) if needed else None)
    at_a, at_b, apart = common(ids[0], ids[1], a, b)
    truth, other = truths[0], truths[1]
    assert truth is not None
    if other is not None:
        differs = np.abs(truth[at_a] - other[at_b]) > 1e-6 * np.abs(truth[at_a]).max()
        if differs.any():
            first = int(np.flatnonzero(differs)[0])
            raise InputError(
                f"{a} and {b} give {int(differs.sum())} ids different truths, the first "
                f"{ids[0][at_a[first]]!r}: {truth[at_a[first]]:g} and {other[at_b[first]]:g}"
            )
    found = iqa.compare(
        truth[at_a],
        columns[0][0][at_a],
        columns[1][0][at_b],
        rank_a=columns[0][1][at_a],
        rank_b=columns[1][1][at_b],
        seed=seed,
        confidence=confidence,
    )
    headline = {"task": "iqa", "metric": "srcc", **found["metrics"]["srcc"]}
    return headline | found | apart | {"seed": seed}


def common(
    ids_a: Sequence[Any], ids_b: Sequence[Any], a: Path, b: Path
) -> tuple[NDArray[np.intp], NDArray[np.intp], dict[str, Any]]:
    """Rows of the ids in both, in A's order, and the ids that only one has."""
    where = {name: row for row, name in enumerate(ids_b)}
    at_a = np.array([row for row, name in enumerate(ids_a) if name in where], dtype=np.intp)
    if not at_a.size:
        raise InputError(f"{a} and {b}: no id is in both; the first are {ids_a[0]!r}, {ids_b[0]!r}")
    at_b = np.array([where[ids_a[row]] for row in at_a], dtype=np.intp)
    known = set(ids_a)
    only_a = [name for name in ids_a if name not in where]
    only_b = [name for name in ids_b if name not in known]
    return (
        at_a,
        at_b,
        {
            "only_in_a": only_a,
            "only_in_b": only_b,
            "only_in_a_count": len(only_a),
            "only_in_b_count": len(only_b),
        },
    )
