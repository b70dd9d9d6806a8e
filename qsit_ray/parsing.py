"""pure: the text of csv and tsv files, JSON values, and parquet, as columns with line numbers.

Every row of the file is a row of the columns, or parsing stops with an InputError that names the
row and its line.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from qsit_ray.errors import InputError
from qsit_ray.reading import skip_blank

MISSING = "missing"
# The ways in which programs write a number that is missing.
_MISSING = {"", "nan", "na", "n/a", "null", "none"}

# A pyarrow.ChunkedArray (from csv and parquet) or a list (from JSON).
Column = Any


# The fields of `tables.Table` after its path.
Columns = tuple[int, Sequence[str], Sequence[Column], Callable[[int], int | None]]


def separated(path: Path, text: str, delimiter: str) -> Columns:
    """Columns of strings from a csv or tsv with a header; blank lines are no rows.

    Raises InputError with row and line for a row of another width or a quote that is not closed.
    """
    from pyarrow import csv as arrow

    def rows(strict: bool) -> Iterator[tuple[int, list[str]]]:
        """The rows that are not blank, each with its first line; slow, so for errors only."""
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict)
        before = 0
        for cells in reader:
            if cells:
                yield before + 1, cells
            before = reader.line_num

    def line(row: int) -> int | None:
        return next(islice(rows(False), row + 1, None), (None, []))[0]

    def first_error(reason: str) -> str:
        number, at = 0, 1
        try:
            for number, (at, cells) in enumerate(rows(True)):
                if len(cells) != len(names):
                    found = f"{len(cells)} cells under {len(names)} names"
                    return f", row {number} (line {at}): {found}"
        except csv.Error as error:
            return f", after row {number} (line {at}): {error} (a quote that is not closed?)"
        return f": can't read it: {reason.splitlines()[0]}"

    names: list[str] = []
    try:
        names = [name.strip() for name in next(rows(False))[1]]
        mark = _other_delimiter(text, delimiter) if len(names) == 1 else None
        if mark is not None:
            if mark != " ":
                return separated(path, text, mark)
            if not path.name.lower().removesuffix(".gz").endswith(".txt"):
                raise InputError(
                    f"{path}: the cells are apart by spaces, not by commas; call it .txt"
                )
            return separated(path, _with_tabs(text), "\t")
        keys = [str(i) for i in range(len(names))]
        table = arrow.read_csv(
            pa.BufferReader(text.encode()),
            # Its threads may outlive the interpreter of a command that ends at once, and abort it.
            arrow.ReadOptions(column_names=keys, block_size=1 << 24, use_threads=False),
            arrow.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            arrow.ConvertOptions(column_types=dict.fromkeys(keys, pa.string())),
        ).slice(1)
        if any(pc.any(pc.match_substring(column, "\n")).as_py() for column in table.columns):
            # A quote that is never closed takes the rows after it into its cell; only the strict
            # reader refuses that.
            for _ in rows(True):
                pass
    except (pa.ArrowInvalid, csv.Error) as error:
        raise InputError(f"{path}{first_error(str(error))}") from None
    if table.num_rows == 0:
        raise InputError(f"{path}: a header and no rows")
    if any(_is_number(name) and not name.isdecimal() for name in names):
        raise InputError(f"{path}: its first line holds numbers; it must name the columns")
    columns = table.columns if delimiter == "," else _with_points(table.columns)
    return (table.num_rows, names, columns, line)


def _other_delimiter(text: str, delimiter: str) -> str | None:
    """What the cells of a table are apart by whose header is one cell by its ending's delimiter."""
    lines = list(islice(filter(str.strip, io.StringIO(text)), 2))
    for mark in ";\t|,".replace(delimiter, ""):
        header, *first = (next(csv.reader([line], delimiter=mark)) for line in lines)
        if len(header) > 1 and all(len(cells) == len(header) for cells in first):
            return mark
    # Names may have spaces in them: a last cell is then a number.
    words = [line.split() for line in lines]
    if len(words) == 2 and len(words[0]) == len(words[1]) > 1:
        return " " if _is_number(words[1][-1].replace(",", ".")) else None
    return None


def _with_tabs(text: str) -> str:
    """A text whose cells are apart by any number of spaces or tabs, with one tab in their place."""
    return "\n".join("\t".join(line.split()) for line in text.split("\n"))


def _with_points(columns: list[pa.ChunkedArray]) -> list[pa.ChunkedArray]:
    """Columns of numbers with decimal commas with points instead; others as they are.

    A number with a point anywhere tells that commas are none, and a column of which all commas have
    three digits behind them may mean thousands.
    """
    trimmed = [pc.utf8_trim_whitespace(column) for column in columns]
    if any(_any(cells, _POINT) for cells in trimmed):
        return columns
    return [
        pc.replace_substring(cells, ",", ".") if _has_decimal_commas(cells) else column
        for column, cells in zip(columns, trimmed, strict=True)
    ]


_POINT = r"^[-+]?\d*\.\d+([eE][-+]?\d+)?\s*%?$"
_COMMA = r"^[-+]?\d+(,\d+)?([eE][-+]?\d+)?\s*%?$"
_THOUSANDS = r"^[-+]?\d{1,3},\d{3}$"


def _has_decimal_commas(cells: pa.ChunkedArray) -> bool:
    given = cells.filter(pc.not_equal(cells, ""))
    with_comma = given.filter(pc.match_substring(given, ","))
    numbers = pc.all(pc.match_substring_regex(given, _COMMA)).as_py()
    thousands = pc.all(pc.match_substring_regex(with_comma, _THOUSANDS)).as_py()
    return bool(numbers and len(with_comma) and not thousands)


def _any(cells: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(cells, pattern)).as_py())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def from_json(path: Path, value: Any, text: str) -> Columns:
    """Columns from records or columns in any of the shapes that `tables.read` lists.

    `text` is the file's, for line numbers. Raises InputError for another shape, with the row.
    """
    if isinstance(value, dict) and len(value) == 1:
        only = next(iter(value.values()))
        value = only if isinstance(only, list) and _all(only, dict) else value
    if isinstance(value, dict) and value:
        inner = list(value.values())
        if _all(inner, list):
            return _of_columns(path, value)
        if _all(inner, dict):
            # The form that pandas writes by default: each column an object keyed by row number.
            keys = [str(i) for i in range(len(inner[0]))]
            if list(inner[0]) == keys:
                for name, column in value.items():
                    if set(column) != set(keys):
                        raise InputError(f"{path}: column {name!r} has other row numbers")
                return _of_columns(path, {n: [c[key] for key in keys] for n, c in value.items()})
            value = [{"key": key} | record for key, record in value.items()]
        else:
            value = [value]
    if not isinstance(value, list):
        raise InputError(f"{path}: expected records or columns, got {describe_value(value)}")
    if not value:
        raise InputError(f"{path}: no records")
    for number, record in enumerate(value, start=1):
        if not isinstance(record, dict):
            raise InputError(
                f"{path}, row {number}: expected a record, got {describe_value(record)}"
            )
    flat = [_flat(r) if any(isinstance(v, dict) for v in r.values()) else r for r in value]
    names = list(dict.fromkeys(name for record in flat for name in record))
    columns = [[record.get(name) for record in flat] for name in names]
    return (len(flat), names, columns, partial(_record_line, text))


def _all(values: list[Any], kind: type) -> bool:
    return bool(values) and all(isinstance(value, kind) for value in values)


def _of_columns(path: Path, columns: dict[str, list[Any]]) -> Columns:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"{path}: the columns differ in length: {listed}")
    rows = next(iter(lengths.values()))
    if rows == 0:
        raise InputError(f"{path}: no rows")
    return (rows, list(columns), list(columns.values()), lambda row: None)


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the keys of inner objects joined by a dot."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": v for inner, v in _flat(value).items()}
        else:
            flat[name] = value
    return flat


def _record_line(text: str, row: int) -> int | None:
    """The first line of a record of a list, or of records one after another."""
    decoder, at = json.JSONDecoder(), skip_blank(text, 0)
    if text[at] == "[":
        at = skip_blank(text, at + 1)
    elif row > 0 and skip_blank(text, decoder.raw_decode(text, at)[1]) == len(text):
        return None
    for _ in range(row):
        at = skip_blank(text, decoder.raw_decode(text, at)[1])
        at = skip_blank(text, at + 1) if text[at : at + 1] == "," else at
    return text.count("\n", 0, at) + 1


def from_parquet(path: Path) -> Columns:
    """Columns of a parquet file, structs flattened. Raises InputError where it can't be read."""
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: can't read it: {str(error).splitlines()[0]}") from None
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    if table.num_rows == 0:
        raise InputError(f"{path}: no rows")
    columns = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in table.columns
    ]
    return (table.num_rows, table.column_names, columns, lambda row: None)


def from_sheet(path: Path) -> Columns:
    """Columns of the first sheet of an .xlsx file, whose first row is the header; rows without any
    value are none. Raises InputError where it can't be read or is empty."""
    from openpyxl import load_workbook  # lazily: few tables are sheets

    try:
        book = load_workbook(path, read_only=True, data_only=True)
        cells = [list(row) for row in book.worksheets[0].iter_rows(values_only=True)]
        book.close()
    except Exception as error:  # a broken file can make the parser raise anything
        raise InputError(f"{path}: can't read it as .xlsx: {error}") from None
    kept = [
        (line, row) for line, row in enumerate(cells, start=1) if any(c is not None for c in row)
    ]
    if len(kept) < 2:
        raise InputError(f"{path}: its first sheet has no rows")
    (_, header), *rows = kept
    names = ["" if name is None else str(name).strip() for name in header]
    width = max((i + 1 for i, name in enumerate(names) if name), default=0)
    columns = [[row[i] if i < len(row) else None for _, row in rows] for i in range(width)]
    return (len(rows), names[:width], columns, lambda row: rows[row][0])


def from_matlab(path: Path) -> Columns:
    """Columns of a .mat file: its variables of the greatest length that several have, or one.

    Raises InputError where it can't be read or holds none.
    """
    from scipy.io import loadmat  # lazily: few tables are MATLAB's

    try:
        found = loadmat(path, squeeze_me=True, chars_as_strings=True)
    except Exception as error:  # a broken file can make the parser raise anything
        raise InputError(f"{path}: can't read it as .mat: {error}") from None
    vectors = {
        name: [value.item() if hasattr(value, "item") else value for value in values]
        for name, values in found.items()
        if not name.startswith("__") and getattr(values, "ndim", 0) == 1 and values.size
    }
    if not vectors:
        raise InputError(f"{path}: no variable of it is a list of numbers or texts")
    lengths = [len(values) for values in vectors.values()]
    rows = max(lengths, key=lambda length: (lengths.count(length), length))
    columns = {name: values for name, values in vectors.items() if len(values) == rows}
    return (rows, list(columns), list(columns.values()), lambda row: None)


def describe_value(value: Any) -> str:
    """A cell as messages show it: its Python form, shortened to 40 characters, or `missing`."""
    value = value.as_py() if isinstance(value, pa.Scalar) else value
    if value is None or (isinstance(value, str) and value.strip().lower() in _MISSING):
        return MISSING
    if isinstance(value, float) and math.isnan(value):
        return MISSING
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
