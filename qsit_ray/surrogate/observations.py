"""pure: the observations of a search: scores by ratio, and the runs without a score."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qsit_ray import tables
from qsit_ray.errors import InputError
from qsit_ray.surrogate.coordinates import Floats
from qsit_ray.tables import Table


@dataclass(frozen=True)
class Observations:
    """Rows with a score: `ratios` and `scores`, shape (rows,); higher scores are better. `missing`
    counts the rows without one by ratio. `rows`: their numbers, from 1, among all rows."""

    ratios: Floats
    scores: Floats
    missing: Mapping[float, int]
    rows: NDArray[np.intp]

    @cached_property
    def distinct(self) -> Floats:
        """Ratios with a score, ascending, shape (ratios,)."""
        return np.unique(self.ratios)

    @cached_property
    def group(self) -> NDArray[np.intp]:
        """The index of each row's ratio in `distinct`, shape (rows,)."""
        return np.searchsorted(self.distinct, self.ratios)

    @cached_property
    def counts(self) -> NDArray[np.intp]:
        """Rows of each distinct ratio, shape (ratios,)."""
        return np.bincount(self.group)

    @cached_property
    def means(self) -> Floats:
        """Mean score of each distinct ratio, shape (ratios,)."""
        return np.bincount(self.group, self.scores) / self.counts

    @property
    def low(self) -> float:
        return float(self.distinct[0])

    @property
    def high(self) -> float:
        return float(self.distinct[-1])

    @property
    def dropped(self) -> int:
        """Rows without a score."""
        return sum(self.missing.values())

    @property
    def lost(self) -> tuple[float, ...]:
        """Ratios that lost all their rows, ascending."""
        return tuple(sorted(set(self.missing) - set(self.distinct.tolist())))


_MOST = 1e100  # squares of greater numbers overflow


def observed(ratios: Iterable[float], scores: Iterable[float | None]) -> Observations:
    """Observations of one run per row, shape (rows,) each.

    A score that is None, NaN or infinite counts as missing. Raises InputError for a ratio that is
    missing or not positive and for a value that is not a number, naming the row from 1, and where
    no row has a score.
    """
    x, y = _numbers(ratios, "ratio"), _numbers(scores, "score")
    if x.size != y.size:
        raise InputError(f"{x.size} ratios but {y.size} scores: expected one of each per row")
    wrong = np.flatnonzero(~(np.isfinite(x) & (x > 0)))
    if wrong.size:
        raise InputError(f"ratio {x[wrong[0]]:g} in row {wrong[0] + 1} must be positive")
    # 0.1 + 0.2 and 0.3 are one ratio.
    x = np.array([float(f"{ratio:.12g}") for ratio in x])
    kept = np.isfinite(y)
    extreme = np.abs(y[kept]).max(initial=0) > _MOST or not np.all((x < _MOST) & (x > 1 / _MOST))
    if extreme:
        raise InputError(f"a ratio or score is beyond {_MOST:g}, where nothing can be computed")
    if not kept.any():
        raise InputError(f"none of the {y.size} rows has a score; one run per ratio must finish")
    gone, counts = np.unique(x[~kept], return_counts=True)
    missing = dict(zip(gone.tolist(), counts.tolist(), strict=True))
    return Observations(x[kept], y[kept], missing, np.flatnonzero(kept) + 1)


def _numbers(values: Iterable[float | None], name: str) -> Floats:
    numbers = []
    for row, value in enumerate(values, start=1):
        try:
            numbers.append(np.nan if value is None else float(value))
        except (TypeError, ValueError):
            raise InputError(f"{name} in row {row}: expected a number, got {value!r}") from None
    return np.array(numbers, dtype=np.float64)


Kind = Literal["ratio", "share", "percent"]
# Words of column names that tell what a column holds, and what it can't be taken for unasked.
LOSSES = {"loss", "losses", "ppl", "perplexity", "bpb", "nll", "error", "err", "rmse", "mae", "mse"}
SHARES = {"share", "shares", "weight", "weights", "percent", "percentage", "pct", "fraction",
          "proportion", "prop"}  # fmt: skip


def read_observations(
    path: Path,
    ratio: str | None = None,
    score: str | None = None,
    repeat: str | None = None,
    kind: Kind | None = None,
    minimize: bool | None = None,
) -> Observations:
    """Observations from columns of a table, by default the columns `ratio` and `score`. A score
    that is missing, NaN or infinite counts as missing.

    `ratio` may name two columns with a comma between, whose quotient is the ratio. `kind`: what the
    column holds; a share s or 100 s per cent is the ratio s / (1 - s). With `minimize` the scores
    are losses, and the observations have their sign turned.

    Rows with the same ratio are repeats. With `repeat`, the column that numbers them (a seed), no
    ratio may have one twice. Raises InputError naming the file, and the row and column of a ratio
    that is missing or not positive, a score that is not a number, and a repeat that occurs twice;
    where a column's name says that it is a share or a loss, and `kind` or `minimize` do not.
    """
    table = tables.read(path)
    ratio = ratio or table.first_of("--ratio", ["ratio"])
    score = score or table.first_of("--score", ["score"])
    ratios, scores = _ratios(table, ratio, kind), table.sparse_numbers(score)
    minimize = direction(path, score, minimize)
    if repeat is not None:
        _check_repeats(table, ratios.tolist(), ratio, repeat)
    try:
        return observed(ratios, -scores if minimize else scores)
    except InputError as error:
        raise InputError(f"{path}, column {score!r}: {error}") from None


def direction(path: Path, score: str, minimize: bool | None) -> bool:
    """Whether the least score is the best. Raises InputError where that is not given and the
    column's name is a loss's."""
    if minimize is None and _words(score) & LOSSES:
        raise InputError(
            f"{path}, column {score!r}: it looks like a loss; give --minimize, or --maximize"
        )
    return bool(minimize)


def _ratios(table: Table, name: str, kind: Kind | None) -> Floats:
    over, comma, under = (part.strip() for part in name.partition(","))
    if comma:
        if kind is not None:
            raise InputError(f"--x {kind} is of one column, but --ratio {name} names two")
        a, b = table.numbers(over), table.numbers(under)
        wrong = (a <= 0) | (b <= 0)
        found = np.divide(a, b, out=np.ones_like(a), where=~wrong)
        said = [f"{over} {x:g} and {under} {y:g}" for x, y in zip(a, b, strict=True)]
    else:
        values = table.numbers(name)
        cells = (str(cell).strip() for cell in table.plain(name))
        if kind is None and (_words(name) & SHARES or any(cell.endswith("%") for cell in cells)):
            raise InputError(
                f"{table.path}, column {name!r}: it looks like a share; give --x ratio, share or "
                "percent, or both columns of weights as --ratio A,B"
            )
        share = values / {"percent": 100.0}.get(kind or "", 1.0)
        wrong = (values <= 0) if kind in (None, "ratio") else (share <= 0) | (share >= 1)
        safe = np.where(wrong, 0.5, share)
        found = values if kind in (None, "ratio") else safe / (1 - safe)
        said = [f"{kind or 'ratio'} {value:g}" for value in values]
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        needs = "must be positive" if kind in (None, "ratio") else "must leave both a part"
        raise InputError(
            f"{table.path}, {table.place(row)}, column {name!r}: {said[row]} {needs}; a run "
            "without one of the two has no place on the axis: leave its row out"
        )
    return np.asarray(found)


def _words(name: str) -> set[str]:
    """The words of a column's name, in lower case: val_loss, evalLoss and `val/bpb`."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return set(re.findall(r"[a-z]+", apart.lower()))


def _check_repeats(table: Table, ratios: list[float], ratio: str, repeat: str) -> None:
    first: dict[tuple[float, str], int] = {}
    for row, key in enumerate(zip(ratios, table.labels(repeat), strict=True)):
        if key in first:
            raise InputError(
                f"{table.path}, {table.place(first[key])} and {table.place(row)}: "
                f"{ratio} {key[0]:g} has {repeat} {key[1]} twice"
            )
        first[key] = row
