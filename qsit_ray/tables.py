"""pure: a table as named columns: numbers, strings and ids from raw cells.

Nothing is guessed and nothing is dropped: a cell that can't be read is an InputError that names the
file, the data row (counted from 1 without the header), its line in a text file, and the column.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from qsit_ray import parsing, reading
from qsit_ray.artifacts import atomic
from qsit_ray.errors import InputError
from qsit_ray.parsing import MISSING, Column, describe_value

T = TypeVar("T")


@dataclass(frozen=True)
class Table:
    """Named columns of equal length. `line(i)` is the line of data row i + 1, None in parquet."""

    path: Path
    rows: int
    names: Sequence[str]
    columns: Sequence[Column]
    line: Callable[[int], int | None]
    kept: Sequence[int] | None = None
    """The places of the rows in the file, where only some are kept."""

    def place(self, row: int) -> str:
        """`row 3 (line 4)` for index 2."""
        row = row if self.kept is None else self.kept[row]
        line = self.line(row)
        return f"row {row + 1}" if line is None else f"row {row + 1} (line {line})"

    def where(self, name: str, value: str) -> Table:
        """The rows whose column `name` is `value`. Raises InputError where there is none."""
        kept = [row for row, label in enumerate(map(_label, self.plain(name))) if label == value]
        if not kept:
            raise InputError(f"{self.path}, column {name!r}: no row has {value!r}")
        columns = [
            column.take(pa.array(kept))
            if isinstance(column, pa.ChunkedArray)
            else [column[row] for row in kept]
            for column in self.columns
        ]
        places = kept if self.kept is None else [self.kept[row] for row in kept]
        return Table(self.path, len(kept), self.names, columns, self.line, places)

    def column(self, name: str) -> Column:
        """Raises InputError that lists the columns where `name` is none of them, or several."""
        found = [i for i, known in enumerate(self.names) if known == name]
        if len(found) == 1:
            return self.columns[found[0]]
        if found:
            raise InputError(f"{self.path}: {len(found)} columns are called {name!r}")
        raise InputError(f"{self.path}: no column {name!r}; it has {', '.join(self.names)}")

    def first_of(self, option: str, names: Sequence[str], several: bool = False) -> str:
        """The one of the usual `names` that is a column; with `several`, the first that is.

        Raises InputError that asks for the command-line `option` where none or more are columns.
        """
        found = [name for name in names if name in self.names]
        if len(found) == 1 or (found and several):
            return found[0]
        which = f"{', '.join(found)} all could be" if found else f"none of {', '.join(names)}"
        raise InputError(f"{self.path}: give {option}: {which} (columns: {', '.join(self.names)})")

    def plain(self, name: str) -> list[Any]:
        """A column's values; None where null, or an empty cell of a csv or tsv."""
        column = self.column(name)
        if not isinstance(column, pa.ChunkedArray):
            return list(column)
        values: list[Any] = column.to_pylist()
        if pa.types.is_string(column.type):
            return [None if value == "" else value for value in values]
        return values

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column of finite numbers, shape (rows,); spaces around them are ignored.

        Raises InputError that lists the rows whose value is missing or not a finite number.
        """
        values = _numbers(self.column(name))
        wrong = np.flatnonzero(~np.isfinite(values)).tolist()
        self._check_numbers(name, "a finite number is needed in every row", wrong)
        return values

    def sparse_numbers(self, name: str) -> NDArray[np.float64]:
        """A column of numbers with gaps, shape (rows,): NaN where one is missing or not finite.

        Raises InputError that lists the rows whose value is neither missing nor a number.
        """
        column = self.column(name)
        values = _numbers(column)
        empty = np.flatnonzero(np.isnan(values)).tolist()
        wrong = [row for row in empty if describe_value(column[row]) != MISSING]
        self._check_numbers(name, "numbers are needed where there is a value", wrong)
        return np.where(np.isfinite(values), values, np.nan)

    def _check_numbers(self, name: str, needed: str, wrong: list[int]) -> None:
        """Raises InputError that lists the first of the `wrong` rows, if there is one."""
        if wrong:
            column = self.column(name)
            shown = _listed(
                wrong, lambda row: f"{self.place(row)} is {describe_value(column[row])}"
            )
            raise InputError(
                f"{self.path}, column {name!r}: {needed}, {len(wrong)} of {self.rows} have none: "
                + shown
            )

    def texts(self, name: str) -> list[str | None]:
        """A column of strings; None where null, or an empty cell of a csv or tsv.

        Raises InputError with the row of another value.
        """
        texts = self.plain(name)
        for row, text in enumerate(texts):
            if text is not None and not isinstance(text, str):
                raise InputError(
                    f"{self.path}, {self.place(row)}, column {name!r}: expected a string, "
                    f"got {text!r}"
                )
        return texts

    def labels(self, name: str) -> list[str]:
        """A column of ids or groups without spaces around; whole numbers become strings.

        Raises InputError with the rows where one is missing.
        """
        values = self.plain(name)
        labels = [each.strip() if type(each) is str else _label(each) for each in values]
        missing = [row for row, label in enumerate(labels) if not label]
        if missing:
            raise InputError(
                f"{self.path}, column {name!r}: missing in {len(missing)} rows: "
                f"{_listed(missing, self.place)}"
            )
        return labels

    def ids(self, name: str, within: Sequence[str] | None = None) -> list[str]:
        """Labels that occur once, or once in each group of `within`.

        Raises InputError with the rows of those that occur more often.
        """
        ids = self.labels(name)
        keys: list[Any] = ids if within is None else list(zip(ids, within, strict=True))
        if len(set(keys)) == len(keys):
            return ids
        rows: dict[Any, list[int]] = {}
        for row, key in enumerate(keys):
            rows.setdefault(key, []).append(row)
        repeated = [at for at in rows.values() if len(at) > 1]
        shown = _listed(
            repeated, lambda at: f"{ids[at[0]]!r} in {' and '.join(map(self.place, at[:3]))}"
        )
        raise InputError(
            f"{self.path}, column {name!r}: {len(repeated)} ids occur more than once: {shown}"
        )


def read(path: Path) -> Table:
    """Read a table in the format of the file's ending.

    Cells of a text may also be apart by semicolons, tabs or bars, in .txt by spaces; numbers then
    may have decimal commas. Of a .mat file each variable is a column.

    JSON may be a list of records, an object of columns, an object of records (their key is the
    column `key`), one record a line, or records one after another. Keys inside a record's object
    are joined by a dot: `logits.good`. Raises InputError for a file that is missing, empty, of
    another format, not UTF-8 (or UTF-16 with its mark), or broken, with row and line.
    """
    if path.suffix.lower() == ".mat":
        return Table(path, *parsing.from_matlab(path))
    is_text = path.name.lower().removesuffix(".gz").endswith(".txt")  # of any delimiter
    ending = ".csv" if is_text else reading.ending(path)
    if ending == ".parquet":
        return Table(path, *parsing.from_parquet(path))
    if ending == ".xlsx":
        return Table(path, *parsing.from_sheet(path))
    text = reading.text_of(path)
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    if ending in (".csv", ".tsv"):
        return Table(path, *parsing.separated(path, text, "," if ending == ".csv" else "\t"))
    return Table(path, *parsing.from_json(path, reading.content(path, text), text))


def write(path: Path, columns: dict[str, list[Any]]) -> None:
    """Write columns of equal length as csv, jsonl or parquet, by the ending, atomically.

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
    """Raises InputError unless `write` knows the ending; call it before long work."""
    if path.suffix not in (".csv", ".jsonl", ".parquet"):
        raise InputError(f"{path}: the ending must be .csv, .jsonl or .parquet")


def _numbers(column: Column) -> NDArray[np.float64]:
    """A column as floats, NaN where a cell is not a number."""
    if isinstance(column, pa.ChunkedArray):
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            column = pc.utf8_trim_whitespace(column)
        if not (pa.types.is_boolean(kind) or pa.types.is_temporal(kind)):
            try:
                return _filled(column.cast(pa.float64()).combine_chunks())
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                pass  # some cell is not a number: each is read on its own
        column = column.to_pylist()
    if {type(value) for value in column} <= {float, int}:
        return np.array(column, dtype=np.float64)
    given = [value.strip() for value in column if isinstance(value, str) and value.strip()]
    if given and all(value.endswith("%") for value in given):
        column = [v.strip().removesuffix("%") if isinstance(v, str) else v for v in column]
    return np.array([_number(value) for value in column], dtype=np.float64)


def _filled(column: pa.Array) -> NDArray[np.float64]:
    """Floats with NaN for null. Arrow's own conversion imports pandas, which takes a second."""
    values = np.full(len(column), np.nan)
    valid = np.from_dlpack(column.is_valid().cast(pa.uint8())) != 0
    values[valid] = np.from_dlpack(column.drop_null())
    return values


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return float("nan")
    try:
        # Python reads 1_000 as a number; a table does not mean that.
        return float("nan") if isinstance(value, str) and "_" in value else float(value)
    except (ValueError, OverflowError):
        return float("nan")


def _label(value: Any) -> str:
    if value is None or isinstance(value, bool | list | dict) or value != value:  # noqa: PLR0124
        return ""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value).strip()


def _listed(found: list[T], show: Callable[[T], str]) -> str:
    """The first five of `found`."""
    return ", ".join(map(show, found[:5])) + (", ..." if len(found) > 5 else "")
