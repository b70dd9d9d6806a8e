"""pure: the run folder: its paths, atomic writes, and the record of its completed stages.

Paths may be `Path` or, on an object store, `UPath`; both work everywhere but in `RunFolder.lock`.
"""

from __future__ import annotations

import glob
import hashlib
import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock

from qsit_ray import addresses, reading
from qsit_ray.errors import InputError

# On an object store the last file of a folder: when it is there, so are all the others.
MARK = ".whole"


@dataclass(frozen=True)
class StageRecord:
    """A completed stage in stages.json: the digest of its inputs, and the seconds that it took.

    Device seconds are CPU or GPU seconds held, added up over the processes that held them.
    """

    inputs: str
    wall_seconds: float
    device_seconds: float


@dataclass
class StageCost:
    """Device seconds that a stage reports while it runs; None counts its wall time once."""

    device_seconds: float | None = None


class _Below:
    """An attribute of `RunFolder`: a path below its folder."""

    def __init__(self, *parts: str) -> None:
        self.parts = parts

    def __get__(self, run: RunFolder, owner: type[RunFolder]) -> Path:
        return run.path.joinpath(*self.parts)


@dataclass(frozen=True)
class RunFolder:
    """The files of a run by job; docs/RUN_FOLDER.md describes their formats."""

    path: Path

    config = _Below("config.yaml")
    log = _Below("qsit.log")
    rejects = _Below("rejects.jsonl")
    stages = _Below("stages.json")
    base_models = _Below("base_models.json")
    hashes = _Below("hashes.json")
    catalog = _Below("catalog")
    packing = _Below(".images")
    features = _Below("features")
    mixture = _Below("mixture.json")
    proxy_model = _Below("proxy", "model")
    train = _Below("train")
    epochs = _Below("train", "epochs.jsonl")
    steps = _Below("train", "steps.jsonl")
    model = _Below("train", "model")
    evaluation = _Below("evaluation")
    ledger = _Below("ledger.json")
    report = _Below("report.html")

    def search(self, axis: str) -> Path:
        return self.path / "search" / axis

    def trials(self, axis: str) -> Path:
        return self.search(axis) / "trials.parquet"

    def tokens(self, which: str) -> Path:
        """Of the `proxy` or the `primary`."""
        return self.path / "tokens" / f"{which}.arrow"

    def fit(self, axis: str) -> Path:
        return self.search(axis) / "fit.json"

    @contextmanager
    def lock(self, seconds: float = 0.0) -> Iterator[None]:
        """Hold the run for this process; the operating system releases it when the process dies.

        Raises InputError when another process holds it for `seconds` more, or the folder can't be
        written.
        """
        held = filelock.FileLock(self.path / ".lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            held.acquire(timeout=seconds)
        except filelock.Timeout:
            raise InputError(f"{self.path}: another qsit process works on this run") from None
        except OSError as error:
            raise InputError(f"{self.path}: can't write the run folder: {error}") from None
        try:
            yield
        finally:
            held.release()

    def is_complete(self, stage: str, inputs: Mapping[str, object]) -> bool:
        """True where `stage` has finished for exactly these inputs, given as JSON values."""
        record = self.completed().get(stage)
        return record is not None and record.inputs == digest(inputs)

    @contextmanager
    def stage(self, stage: str, inputs: Mapping[str, object]) -> Iterator[StageCost]:
        """Record `stage` as completed for `inputs` when the block ends without an exception."""
        cost = StageCost()
        began = time.monotonic()
        yield cost
        wall = time.monotonic() - began
        device = wall if cost.device_seconds is None else cost.device_seconds
        record = StageRecord(digest(inputs), round(wall, 3), round(device, 3))
        records = {**self.completed(), stage: record}
        write_json(self.stages, {name: asdict(each) for name, each in records.items()})

    def completed(self) -> dict[str, StageRecord]:
        """The record of each completed stage, in the order in which they completed."""
        if not self.stages.exists():
            return {}
        return {name: StageRecord(**each) for name, each in read_json(self.stages).items()}


def path_of(text: str) -> Path:
    """The path of a local folder or of an object store's URL, such as s3://bucket/folder.

    Raises InputError when the packages for object stores are missing, or the URL has a password.
    """
    addresses.check(text)
    if "://" not in text:
        return Path(text).expanduser().absolute()
    try:
        from upath import UPath

        # Other processes write there too, so a cached listing may be out of date.
        return UPath(text, use_listings_cache=False)  # type: ignore[return-value]
    except ImportError as error:
        raise InputError(f"{text}: {error}; install qsit_ray[s3]") from None


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary local path, of a file or folder; it becomes `path` if the block succeeds.

    A process that dies in the block leaves the old `path`, or none, but never part of a new one.
    An object store writes one file at once; a folder there is complete (`is_written`) with its
    mark, which is written last.
    """
    if not isinstance(path, Path):
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / path.name
            yield temporary
            if temporary.is_file():
                path.fs.put_file(str(temporary), path.path)
            else:
                remove(path)
                path.fs.put(f"{temporary}/", path.path, recursive=True)
                (path / MARK).write_text("")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # What a killed process left. One that others took for dead, and lives, fails at its end then.
    for left in path.parent.glob(f".{glob.escape(path.name)}.partial*"):
        remove(left)
    # A name of its own, or that one would put the unfinished file of this one in its place.
    temporary = path.with_name(f".{path.name}.partial-{uuid.uuid4().hex}")
    try:
        yield temporary
        if temporary.is_dir() and path.exists():
            # A folder is not replaced in one step: the old one is set aside first.
            aside = path.with_name(f".{path.name}.old")
            remove(aside)
            path.rename(aside)
            temporary.rename(path)
            remove(aside)
        else:
            temporary.replace(path)
    finally:
        remove(temporary)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write finite JSON; a NaN or an infinity raises ValueError."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_jsonl(path: Path, values: Sequence[object]) -> None:
    """Write one finite JSON value a line; a NaN or an infinity raises ValueError."""
    write_text(path, "".join(json.dumps(value, allow_nan=False) + "\n" for value in values))


def read_json(path: Path) -> Any:
    """The value of a JSON file of ours. Raises InputError naming a file that can't be read."""
    found = read_jsonl(path)
    if len(found) != 1:
        raise InputError(f"{path}: expected one JSON value, found {len(found)}")
    return found[0]


def read_jsonl(path: Path) -> list[Any]:
    """The values of a JSON-lines file of ours. Raises InputError naming the file and the line."""
    return reading.values(path, reading.text_of(path), strict=True)


def digest(value: Any) -> str:
    """SHA-256 of a JSON value; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_written(folder: Path) -> bool:
    """True where `atomic` has written the folder."""
    return folder.is_dir() if isinstance(folder, Path) else (folder / MARK).exists()


@contextmanager
def local(folder: Path) -> Iterator[Path]:
    """A folder on this machine: itself, or a copy that exists as long as the block."""
    if isinstance(folder, Path):
        yield folder
        return
    with tempfile.TemporaryDirectory() as copy:
        folder.fs.get(f"{folder.path}/", copy, recursive=True)
        (Path(copy) / MARK).unlink(missing_ok=True)
        yield Path(copy)


def remove(path: Path) -> None:
    """Remove a file or a folder where there is one."""
    if not isinstance(path, Path):
        if path.exists():
            path.fs.rm(path.path, recursive=True)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
