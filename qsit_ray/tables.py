"""pure: a table as columns that know their rows: numbers, texts and ids out of raw cells.

Nothing is guessed and nothing dropped: a cell that can't be read is an InputError that names the
file, the data row (the first is 1), its line where the format has lines, and the column.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from qsit_ray import parsing
from qsit_ray.artifacts import atomic
from qsit_ray.errors import InputError
from qsit_ray.parsing import MISSING, Column, describe_value

_SHOWN = 5


@dataclass(frozen=True)
class Table:
    """Named columns of equal length. `line(row)` gives a data row's line (row from 0), or None."""

    path: Path
    rows: int
    names: Sequence[str]
    columns: Sequence[Column]
    line: Callable[[int], int | None]

    def place(self, row: int) -> str:
        """`row 3 (line 4)` of the data row with number 2 from 0."""
        line = self.line(row)
        return f"row {row + 1}" if line is None else f"row {row + 1} (line {line})"

    def column(self, name: str) -> Column:
        """Raises InputError, with the columns there are, where `name` is not exactly one."""
        found = [i for i, known in enumerate(self.names) if known == name]
        if len(found) == 1:
            return self.columns[found[0]]
        if found:
            raise InputError(f"{self.path}: {len(found)} columns are called {name!r}")
        raise InputError(f"{self.path}: no column {name!r}; it has {', '.join(self.names)}")

    def first_of(self, option: str, names: Sequence[str], several: bool = False) -> str:
        """The one column among the usual `names`; with `several`, the first of those there.

        Raises InputError, naming the `option` that decides, where none or more are there.
        """
        found = [name for name in names if name in self.names]
        if len(found) == 1 or (found and several):
            return found[0]
        which = f"{', '.join(found)} all could be" if found else f"none of {', '.join(names)}"
        raise InputError(f"{self.path}: say {option}: {which} (columns: {', '.join(self.names)})")

    def plain(self, name: str) -> list[Any]:
        """A column's values as they stand; None where null or an empty text cell."""
        return _plain(self.column(name))

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column of finite numbers, shape (rows,); text with spaces around is read.

        Raises InputError that lists the rows whose value is missing or is no finite number.
        """
        values = _numbers(self.column(name))
        wrong = np.flatnonzero(~np.isfinite(values))
        if wrong.size:
            raise InputError(
                f"{self.path}, column {name!r}: a finite number is needed in every row, "
                f"{wrong.size} of {self.rows} have none: {self._cells(name, wrong)}"
            )
        return values

    def sparse_numbers(self, name: str) -> NDArray[np.float64]:
        """A column of numbers with gaps, shape (rows,): NaN where one is missing or not finite.

        Raises InputError that lists the rows whose value is neither missing nor a number.
        """
        column = self.column(name)
        values = _numbers(column)
        empty = np.flatnonzero(np.isnan(values)).tolist()
        wrong = np.array(
            [row for row in empty if describe_value(column[row]) != MISSING], dtype=np.intp
        )
        if wrong.size:
            raise InputError(
                f"{self.path}, column {name!r}: numbers are needed where there is a value, "
                f"{wrong.size} of {self.rows} have none: {self._cells(name, wrong)}"
            )
        return np.where(np.isfinite(values), values, np.nan)

    def _cells(self, name: str, rows: NDArray[np.intp]) -> str:
        column = self.column(name)
        shown = [
            f"{self.place(int(row))} is {describe_value(column[int(row)])}" for row in rows[:_SHOWN]
        ]
        return _listed(shown, rows.size)

    def texts(self, name: str) -> list[str | None]:
        """A column of texts as they stand; None where null, or an empty cell of a csv or tsv.

        Raises InputError with the row of a value that is no text.
        """
        texts = self.plain(name)
        for row, text in enumerate(texts):
            if text is not None and not isinstance(text, str):
                raise InputError(
                    f"{self.path}, {self.place(row)}, column {name!r}: {text!r} is no text"
                )
        return texts

    def labels(self, name: str) -> list[str]:
        """A column of names (ids, groups) without spaces around; whole numbers become text.

        Raises InputError with the row of a name that is missing.
        """
        labels = [_label(value) for value in self.plain(name)]
        missing = [row for row, label in enumerate(labels) if not label]
        if missing:
            raise InputError(
                f"{self.path}, column {name!r}: missing in {len(missing)} rows: "
                f"{_listed([self.place(row) for row in missing[:_SHOWN]], len(missing))}"
            )
        return labels

    def ids(self, name: str, within: Sequence[str] | None = None) -> list[str]:
        """Labels that occur once, or once a group of `within`. Raises InputError naming repeats."""
        ids = self.labels(name)
        keys: list[Any] = ids if within is None else list(zip(ids, within, strict=True))
        if len(set(keys)) == len(keys):
            return ids
        rows: dict[Any, list[int]] = {}
        for row, key in enumerate(keys):
            rows.setdefault(key, []).append(row)
        repeated = [at for at in rows.values() if len(at) > 1]
        shown = [
            f"{ids[at[0]]!r} in {' and '.join(self.place(row) for row in at[:3])}"
            for at in repeated[:_SHOWN]
        ]
        raise InputError(
            f"{self.path}, column {name!r}: {len(repeated)} ids stand more than once: "
            f"{_listed(shown, len(repeated))}"
        )


def read(path: Path) -> Table:
    """Read a table; the format goes by the file's ending.

    JSON may be a list of records, an object of columns, an object of records (their key is the
    column `key`), one record a line, or records one after another. Keys inside a record's object
    are joined by a dot: `logits.good`. Raises InputError for a file that is absent, empty, of
    another format, not UTF-8 (UTF-16 with its mark is read too), or broken, with row and line.
    """
    ending = parsing.ending(path)
    if ending == ".parquet":
        return Table(path, *parsing.from_parquet(path))
    if ending in (".csv", ".tsv"):
        return Table(path, *parsing.separated(path, "," if ending == ".csv" else "\t"))
    text = parsing.text_of(path)
    return Table(path, *parsing.from_json(path, parsing.documents(path, text), text))


def read_json(path: Path) -> Any:
    """The value of a JSON file, or the list of values where one follows another (jsonl).

    Raises InputError as `read` does.
    """
    if parsing.ending(path) not in (".json", ".jsonl"):
        raise InputError(f"{path}: a .json or .jsonl file is needed (.gz may follow)")
    return parsing.documents(path, parsing.text_of(path))


def write(path: Path, columns: dict[str, list[Any]]) -> None:
    """Write equally long columns as csv, jsonl or parquet, by the ending; whole or not at all.

    Raises InputError for another ending and where the file can't be written.
    """
    check_output(path)
    try:
        with atomic(path) as temporary:
            if path.suffix == ".parquet":
                from pyarrow import parquet

                parquet.write_table(pa.table(columns), temporary)
                return
            rows = zip(*columns.values(), strict=True)
            with temporary.open("w", encoding="utf-8", newline="") as stream:
                if path.suffix == ".csv":
                    writer = csv.writer(stream, lineterminator="\n")
                    writer.writerow(columns)
                    writer.writerows(rows)
                else:
                    for row in rows:
                        stream.write(json.dumps(dict(zip(columns, row, strict=True))) + "\n")
    except OSError as error:
        raise InputError(f"{path}: can't write it: {error}") from None


def check_output(path: Path) -> None:
    """Raises InputError unless `write` knows the ending: to be asked before long work."""
    if path.suffix not in (".csv", ".jsonl", ".parquet"):
        raise InputError(f"{path}: the ending must be .csv, .jsonl or .parquet")


def _numbers(column: Column) -> NDArray[np.float64]:
    """Numbers, NaN where there is none."""
    if isinstance(column, pa.ChunkedArray):
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            column = pc.utf8_trim_whitespace(column)
        if not (pa.types.is_boolean(kind) or pa.types.is_temporal(kind)):
            try:
                return _filled(column.cast(pa.float64()).combine_chunks())
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                pass  # some cell is no number: look at each
        column = column.to_pylist()
    if {type(value) for value in column} <= {float, int}:
        return np.array(column, dtype=np.float64)
    return np.array([_number(value) for value in column], dtype=np.float64)


def _filled(column: pa.Array) -> NDArray[np.float64]:
    """Floats with NaN for null. Arrow's own way there imports pandas, which takes a second."""
    values = np.full(len(column), np.nan)
    valid = np.from_dlpack(column.is_valid().cast(pa.uint8())) != 0
    values[valid] = np.from_dlpack(column.drop_null())
    return values


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return float("nan")
    try:
        # Python reads 1_000 as a number; no table means that.
        return float("nan") if isinstance(value, str) and "_" in value else float(value)
    except (ValueError, OverflowError):
        return float("nan")


def _plain(column: Column) -> list[Any]:
    if not isinstance(column, pa.ChunkedArray):
        return column
    values = column.to_pylist()
    if pa.types.is_string(column.type):
        return [None if value == "" else value for value in values]
    return values


def _label(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if value is None or isinstance(value, bool | list | dict):
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else ("" if value != value else str(value))  # noqa: PLR0124
    return str(value)


def _listed(shown: list[str], total: int) -> str:
    return ", ".join(shown) + (", ..." if total > len(shown) else "")
