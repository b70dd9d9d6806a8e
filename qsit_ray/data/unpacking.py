"""pure: records with their images inside, as files: `datasets` folders, parquet, webdataset.

Hugging Face `datasets` reads them, row by row. Each image's bytes are written as they are, once,
under their hash; the records, in whatever shape, keep everything else.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image

from qsit_ray import artifacts
from qsit_ray.errors import InputError

IMAGES = "images"
RECORDS, REJECTS = "records.jsonl", "rejects.jsonl"
SHAPES = ("conversations", "messages")
FORMS = "a folder of datasets' save_to_disk, .parquet, or a webdataset's .tar"


@dataclass(frozen=True)
class Unpacked:
    """Rows in = `records` + `rejects`; `images`: different ones."""

    records: int
    rejects: int
    images: int


def unpack(source: Path, split: str | None, out: Path, report: Callable[[int], None]) -> Unpacked:
    """Write `records.jsonl` and `images/` into the folder `out`. `report` gets the rows so far.

    Raises InputError for another form of file, one that can't be read, no records in it, and a
    folder of several splits of which none is named.
    """
    images: set[str] = set()
    rejects: list[dict[str, Any]] = []
    number = 0
    with (
        artifacts.atomic(out / RECORDS) as temporary,
        temporary.open("w", encoding="utf-8") as stream,
    ):
        for number, row in enumerate(_rows(source, split), start=1):
            try:
                stream.write(_record(row, out / IMAGES, images) + "\n")
            except ValueError as error:
                rejects.append({"record": number, "reason": str(error)})
            if number % 1000 == 0:
                report(number)
        if number == len(rejects):
            reason = f"; the first: {rejects[0]['reason']}" if rejects else ""
            raise InputError(f"{source}: no records with {' or '.join(SHAPES)} in it{reason}")
    report(number)
    artifacts.write_jsonl(out / REJECTS, rejects)
    return Unpacked(number - len(rejects), len(rejects), len(images))


def _rows(source: Path, split: str | None) -> Iterator[dict[str, Any]]:
    import datasets  # lazily: it takes seconds

    datasets.disable_progress_bars()
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    try:
        if source.is_dir():
            loaded = datasets.load_from_disk(str(source))
            part = loaded[_split(source, split, loaded)] if isinstance(loaded, dict) else loaded
        else:
            kinds = {".parquet": "parquet", ".tar": "webdataset"}
            kind = kinds.get(source.suffix.lower())
            if kind is None:
                raise InputError(f"{source}: expected {FORMS}")
            # Streamed: nothing is copied into a cache.
            part = datasets.load_dataset(
                kind, data_files={"train": str(source)}, split="train", streaming=True
            )
        yield from _undecoded(part)
    except InputError:
        raise
    except Exception as error:  # the library's readers raise whatever their formats' do
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{source}: can't read it ({reason:.200}); expected {FORMS}") from None


def _split(source: Path, split: str | None, loaded: Mapping[str, Any]) -> str:
    if split is None and len(loaded) == 1:
        return next(iter(loaded))
    if split not in loaded:
        raise InputError(f"{source}: give --split, one of {', '.join(loaded)}")
    return str(split)


def _undecoded(part: Any) -> Any:
    """A Dataset whose images are their bytes."""
    import datasets

    stored = datasets.Image(decode=False)
    for name, feature in (part.features or {}).items():
        if isinstance(feature, datasets.Image):
            part = part.cast_column(name, stored)
        elif isinstance(getattr(feature, "feature", None), datasets.Image):
            part = part.cast_column(name, datasets.List(stored))
    return part


def _record(row: Mapping[str, Any], folder: Path, seen: set[str]) -> str:
    """A row with its images as names, as JSON. Raises ValueError with the reason it is none."""
    inner = row.get("json")
    if isinstance(inner, (bytes, str)):
        inner = json.loads(inner)
    # A webdataset's sample: files of one key, of which one is the record.
    record = dict(inner) if isinstance(inner, dict) else dict(row)
    if not any(isinstance(record.get(shape), list) for shape in SHAPES):
        raise ValueError(f"no list of {' or '.join(SHAPES)}")
    names: list[str] = []
    for key, value in row.items():
        held = value if isinstance(value, list) else [value]
        if key not in SHAPES and any(_is_image(each) for each in held):
            names += [_written(each, folder, seen) for each in held if each is not None]
            record.pop(key, None)
    for shape in SHAPES:
        if isinstance(record.get(shape), list):
            record[shape] = _named(record[shape], folder, seen)
    record = {key: value for key, value in record.items() if not key.startswith("__")}
    if names:
        record.pop("images", None)
        record["image"] = names[0] if len(names) == 1 else names
    try:
        return json.dumps(record, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a value that JSON does not have ({error})") from None


def _named(value: Any, folder: Path, seen: set[str]) -> Any:
    """A part of a record with the images within it as names."""
    if _is_image(value):
        return _written(value, folder, seen)
    if isinstance(value, list):
        return [_named(each, folder, seen) for each in value]
    if isinstance(value, dict):
        # `datasets` gives every part of a message the keys of all, most of them without a value.
        held = {key: each for key, each in value.items() if each is not None}
        return {key: _named(each, folder, seen) for key, each in held.items()}
    return value


def _is_image(value: Any) -> bool:
    return isinstance(value, bytes) or (isinstance(value, dict) and set(value) == {"bytes", "path"})


def _written(image: Any, folder: Path, seen: set[str]) -> str:
    content = image if isinstance(image, bytes) else image.get("bytes")
    if not isinstance(content, bytes):
        raise ValueError("an image without its bytes")
    try:
        with Image.open(io.BytesIO(content)) as opened:
            ending = (opened.format or "bin").lower()
    except Exception:  # a broken file can make a decoder raise anything
        raise ValueError("an image that can't be read") from None
    name = f"{sha256(content).hexdigest()[:32]}.{ending}"
    if name not in seen:
        with artifacts.atomic(folder / name) as temporary:
            temporary.write_bytes(content)
        seen.add(name)
    return name
