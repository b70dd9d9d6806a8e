"""pure: the one reader of text files, JSON and JSON lines, the run folder's and anyone's.

Lenient where no value can be mistaken: gzip, a byte order mark, UTF-16 with its mark, blank lines,
records over several lines or several in one. Only line feeds end a line, so U+2028 and its like
stay inside their string. Strict where one can: a key that occurs twice in an object is refused, and
in files of our own NaN and Infinity, which JSON does not have.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any, NoReturn

from qsit_ray.errors import InputError

FORMATS = "csv, tsv, jsonl, json, parquet, xlsx"
_BLANK = re.compile(r"[\s\ufeff]*")


def ending(path: Path) -> str:
    """The format's ending, without .gz. Raises InputError for an unknown one."""
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    ending = plain.suffix.lower()
    ending = {".ndjson": ".jsonl", ".pq": ".parquet"}.get(ending, ending)
    if ending not in (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".xlsx"):
        raise InputError(f"{path}: the file's ending must be one of {FORMATS} (.gz may follow)")
    return ending


def text_of(path: Path) -> str:
    """The text of a file, decompressed. Raises InputError where it is missing or not UTF-8 (or
    UTF-16 with its mark), with the line of the first wrong byte."""
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: can't read it: {error}") from None
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not {error.encoding}; "
            "save the file as UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path}, line {line}: a zero byte; save the file as UTF-8 text")
    return text


def read_values(path: Path) -> Any:
    """The value of anyone's JSON file, or the list of its values where one follows another.

    A file of JSON lines is always a list. Raises InputError as `text_of` and `values` do, and where
    the file is empty or its ending is neither .json nor .jsonl (.ndjson).
    """
    if ending(path) not in (".json", ".jsonl"):
        raise InputError(f"{path}: a .json or .jsonl file is needed (.gz may follow)")
    return content(path, text_of(path))


def content(path: Path, text: str) -> Any:
    """What `read_values` gives, of the file's text."""
    found = values(path, text)
    if not found:
        raise InputError(f"{path}: the file is empty")
    return found if len(found) > 1 or ending(path) == ".jsonl" else found[0]


def values(path: Path, text: str, strict: bool = False) -> list[Any]:
    """The JSON values of a text, one after another; `strict` refuses NaN and Infinity.

    Raises InputError with record and line where the text is not JSON, or a key occurs twice in an
    object. The record is counted within a list.
    """
    found: list[Any] = []
    decoder = json.JSONDecoder(
        object_pairs_hook=_object, parse_constant=_refuse_constant if strict else None
    )
    at = skip_blank(text, 0)
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            record, line, reason = _first_error(text, at, len(found) + 1, decoder, error)
            raise InputError(f"{path}, record {record}, line {line}: {reason}") from None
        found.append(value)
        at = skip_blank(text, at)
    return found


def is_unicode(text: str) -> bool:
    """False for half of a surrogate pair, which is no character and can't be written."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def skip_blank(text: str, at: int) -> int:
    """The first place from `at` on that is not blank."""
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} occurs more than once in an object")
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _first_error(
    text: str, at: int, record: int, decoder: json.JSONDecoder, error: Exception
) -> tuple[int, int, str]:
    """Record, line and reason of the error in the value that starts at `at`."""
    if text[at] == "[":
        number = 0
        try:
            inner = skip_blank(text, at + 1)
            while text[inner : inner + 1] not in ("]", ""):
                at, number = inner, number + 1
                inner = skip_blank(text, decoder.raw_decode(text, inner)[1])
                if text[inner : inner + 1] == ",":
                    inner = skip_blank(text, inner + 1)
        except (ValueError, RecursionError) as within:
            error = within
        record = max(number, 1)
    if isinstance(error, json.JSONDecodeError):
        return record, error.lineno, f"not JSON: {error.msg}"
    reason = "JSON nested too deep" if isinstance(error, RecursionError) else str(error)
    return record, text.count("\n", 0, at) + 1, reason
