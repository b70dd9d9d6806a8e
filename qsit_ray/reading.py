"""pure: the one reader of text files, JSON and JSON lines, the run folder's and anyone's.

Lenient where no value can be mistaken: gzip, a byte order mark, UTF-16 with its mark, blank lines,
records over several lines or several in one. Only line feeds end a line, so U+2028 and its like
stay inside their string. Strict where one can: a key that occurs twice in an object is refused, and
in files of our own NaN and Infinity, which JSON does not have.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from qsit_ray.errors import InputError

FORMATS = "csv, tsv, jsonl, json, parquet, xlsx"
TABLES = f"{FORMATS}, txt, mat"
"""Endings of tables."""
PIECE = 1 << 24
"""Bytes that are read at a time."""
CUT = 16
"""Characters before the end of a piece within which an error may be that of a value cut there."""
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
    return "".join(_pieces(path))


def _pieces(path: Path) -> Iterator[str]:
    """The text of a file, piece by piece, with the errors of `text_of`."""
    line = 1
    try:
        with path.open("rb") as raw:
            stream = gzip.GzipFile(fileobj=raw) if path.suffix.lower() == ".gz" else raw
            data = stream.read(PIECE)
            wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
            decoder = codecs.getincrementaldecoder("utf-16" if wide else "utf-8-sig")()
            while True:
                text = decoder.decode(data, final=not data)
                if "\0" in text:
                    line += text.count("\n", 0, text.index("\0"))
                    raise InputError(
                        f"{path}, line {line}: a zero byte; save the file as UTF-8 text"
                    )
                yield text
                if not data:
                    return
                line += text.count("\n")
                data = stream.read(PIECE)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: can't read it: {error}") from None
    except UnicodeDecodeError as error:
        line += error.object.count(b"\n", 0, error.start)
        raise InputError(
            f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is not {error.encoding}; "
            "save the file as UTF-8"
        ) from None


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


def records(path: Path) -> Iterator[Any]:
    """The records of a .json list or of JSON lines, one after another, of a file of any size.

    Raises InputError as `read_values` does, and where the file holds something else.
    """
    kind = ending(path)
    if kind not in (".json", ".jsonl"):
        raise InputError(f"{path}: a .json or .jsonl file is needed (.gz may follow)")
    window = _Window(path, _pieces(path), _decoder(strict=False))
    if kind == ".json" and window.first() == "[":
        yield from window.elements()
        if window.first():
            raise InputError(f"{path}, line {window.line()}: more after the end of the list")
        return
    if not window.first():
        raise InputError(f"{path}: the file is empty")
    for number, value in enumerate(window.values()):
        if kind == ".json" and number == 0 and not window.first():
            raise InputError(f"{path}: expected a list of records")
        yield value


def values(path: Path, text: str, strict: bool = False) -> list[Any]:
    """The JSON values of a text, one after another; `strict` refuses NaN and Infinity.

    Raises InputError with record and line where the text is not JSON, or a key occurs twice in an
    object. The record is counted within a list.
    """
    return list(_Window(path, iter([text]), _decoder(strict)).values())


class _Window:
    """A piece of a text that is read on as values need it."""

    def __init__(self, path: Path, pieces: Iterator[str], decoder: json.JSONDecoder) -> None:
        self._path = path
        self._pieces = pieces
        self._decoder = decoder
        self._text = ""
        self._at = 0
        self._lines = 0  # before the text
        self._ended = False

    def values(self) -> Iterator[Any]:
        """The values from here on, one after another."""
        number = 0
        while first := self.first():
            number += 1
            try:
                value = self._value()
            except (ValueError, RecursionError) as error:
                if first == "[":
                    for _ in self.elements():  # which of the list's records is wrong
                        pass
                raise self._refused(number, error) from None
            yield value

    def elements(self) -> Iterator[Any]:
        """The values of the list that begins here."""
        self._at += 1
        number = 0
        while self.first() not in ("]", ""):
            number += 1
            try:
                value = self._value()
                if self.first() == ",":
                    self._at += 1
                    if self.first() == "]":
                        raise json.JSONDecodeError("Expecting value", self._text, self._at)
                elif self.first() not in ("]", ""):
                    number += 1
                    raise json.JSONDecodeError("Expecting ',' delimiter", self._text, self._at)
            except (ValueError, RecursionError) as error:
                raise self._refused(number, error) from None
            yield value
        if not self.first():
            end = json.JSONDecodeError("Expecting ',' delimiter", self._text, self._at)
            raise self._refused(max(number, 1), end)
        self._at += 1

    def first(self) -> str:
        """The next character that is not blank, which is not taken; none at the end."""
        while True:
            self._at = skip_blank(self._text, self._at)
            if self._at < len(self._text) or not self._read_on():
                return self._text[self._at : self._at + 1]

    def line(self) -> int:
        return self._line(self._at)

    def _line(self, at: int) -> int:
        return self._lines + self._text.count("\n", 0, at) + 1

    def _value(self) -> Any:
        """The value that begins here, once enough of the text is read."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos > len(self._text) - CUT
                if not (cut and self._read_on()):
                    raise
                continue
            if end < len(self._text) - CUT or not self._read_on():  # a number may go on
                self._at = end
                return value

    def _read_on(self) -> bool:
        """Whether there was more: at least as much again as is still to be decoded, so that no
        value is decoded more than a few times."""
        wanted = len(self._text) - self._at
        more: list[str] = []
        while not self._ended and sum(map(len, more)) <= wanted:
            piece = next(self._pieces, None)
            self._ended = piece is None
            more += filter(None, [piece])
        if more:
            self._lines += self._text.count("\n", 0, self._at)
            self._text = self._text[self._at :] + "".join(more)
            self._at = 0
        return bool(more)

    def _refused(self, record: int, error: Exception) -> InputError:
        at, reason = self._at, str(error)
        if isinstance(error, json.JSONDecodeError):
            at, reason = error.pos, f"not JSON: {error.msg}"
        elif isinstance(error, RecursionError):
            reason = "JSON nested too deep"
        return InputError(f"{self._path}, record {record}, line {self._line(at)}: {reason}")


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


def _decoder(strict: bool) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_object, parse_constant=_refuse_constant if strict else None
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
