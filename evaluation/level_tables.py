"""pure: tables of MOS as tables of level words (Eq. 1), with the figures of Table II."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qsit_ray import tables
from qsit_ray.errors import InputError
from qsit_ray.evaluation import iqa
from qsit_ray.evaluation.intervals import DEFAULT, Bootstrap, Floats
from qsit_ray.evaluation.iqa import IqaResult
from qsit_ray.levels import Boundary, Conversion, Range, mos_to_levels


@dataclass(frozen=True)
class LevelTable:
    """MOS as level words (Eq. 1), with the figures of Table II.

    `agreement` is of the level numbers with the MOS, over the rows that have a level. A released
    rule may have none for the highest MOS; such rows are rejected.
    """

    ids: list[str]
    mos: Floats
    conversion: Conversion
    agreement: IqaResult
    range: str
    seed: int

    def columns(self) -> dict[str, list[object]]:
        """The columns id, mos, level of the rows that have a level."""
        rows = zip(self.ids, self.mos.tolist(), self.conversion.words(), strict=True)
        written = [row for row in rows if row[2] is not None]
        return {name: [row[i] for row in written] for i, name in enumerate(("id", "mos", "level"))}

    def to_json(self) -> dict[str, object]:
        """`rows` = rows `written` + `rejected`."""
        found, agreement = self.conversion, self.agreement
        why = f"MOS of {found.high:g} and more have no level in the release"
        return {
            "rows": len(self.ids),
            "written": agreement.rows,
            "range": self.range,
            "boundary": found.boundary,
            "low": found.low,
            "high": found.high,
            "clipped": found.clipped,
            "rejected": found.rejected,
            "rejected_rows": [
                {"row": i + 1, "id": self.ids[i], "mos": float(self.mos[i]), "reason": why}
                for i in np.flatnonzero(found.levels == 0).tolist()
            ],
            "srcc": agreement.srcc,
            "plcc": agreement.plcc,
            "intervals": {name: agreement.intervals[name] for name in ("srcc", "plcc")},
            "reasons": self.reasons,
            "counts": found.counts(),
            "confidence": agreement.confidence,
            "seed": self.seed,
        }

    @property
    def reasons(self) -> dict[str, str]:
        shown = ("srcc", "plcc")
        return {name: why for name, why in self.agreement.reasons.items() if name in shown}


def convert_mos(
    path: Path,
    *,
    id_column: str,
    mos_column: str,
    range_text: str,
    boundary: Boundary | None,
    lower_better: bool = False,
    bootstrap: Bootstrap = DEFAULT,
) -> LevelTable:
    """Convert a table's MOS, or its DMOS where `lower_better`.

    Raises InputError, with the row, for a MOS that is missing and an id that repeats.
    """
    scale = Range.parse(range_text)
    table = tables.read(path)
    ids, mos = table.ids(id_column), table.numbers(mos_column)
    try:
        found = mos_to_levels(mos, scale, boundary, lower_better)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    kept = found.levels > 0
    rising = -mos[kept] if lower_better else mos[kept]
    agreement = iqa.score_predictions(rising, found.levels[kept], bootstrap=bootstrap)
    return LevelTable(ids, mos, found, agreement, range_text, bootstrap.seed)
