"""pure: the run folder: its paths, atomic writes, and which stages already stand.

Paths may be `Path` or, on an object store, `UPath`; what holds for both is written once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from qsit_ray.errors import InputError

# On an object store the last file of a folder: the others are all there when it is.
WHOLE = ".whole"


@dataclass(frozen=True)
class RunFolder:
    """Where each stage of a run reads and writes (docs/RUN_FOLDER.md describes the formats)."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def log(self) -> Path:
        return self.path / "qsit.log"

    @property
    def stages(self) -> Path:
        return self.path / "stages.json"

    @property
    def catalog(self) -> Path:
        return self.path / "catalog"

    @property
    def features(self) -> Path:
        return self.path / "features"

    def search(self, axis: str) -> Path:
        return self.path / "search" / axis

    def trials(self, axis: str) -> Path:
        return self.search(axis) / "trials.parquet"

    def fit(self, axis: str) -> Path:
        return self.search(axis) / "fit.json"

    @property
    def mixture(self) -> Path:
        return self.path / "mixture.json"

    @property
    def proxy_model(self) -> Path:
        return self.path / "proxy" / "model"

    @property
    def train(self) -> Path:
        return self.path / "train"

    @property
    def epochs(self) -> Path:
        return self.train / "epochs.jsonl"

    @property
    def model(self) -> Path:
        return self.train / "model"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation"

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process; the operating system lets go when the process dies.

        Raises InputError when another process holds it or the folder can't be written.
        """
        held = filelock.FileLock(self.path / ".lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            held.acquire(timeout=0)
        except filelock.Timeout:
            raise InputError(f"{self.path}: another qsit process works on this run") from None
        except OSError as error:
            raise InputError(f"{self.path}: can't write the run folder: {error}") from None
        try:
            yield
        finally:
            held.release()

    def is_complete(self, stage: str, inputs: Mapping[str, Any]) -> bool:
        """Whether `stage` has finished for exactly these inputs."""
        return self._stages().get(stage, {}).get("inputs") == digest(inputs)

    @contextmanager
    def stage(self, stage: str, inputs: Mapping[str, Any]) -> Iterator[dict[str, float]]:
        """Record `stage` as finished for `inputs` if the block ends well.

        The block may put `device_seconds` (CPU or GPU seconds held) into the yielded dict;
        without it the stage counts its wall time once.
        """
        cost: dict[str, float] = {}
        began = time.monotonic()
        yield cost
        wall = time.monotonic() - began
        record = {
            "inputs": digest(inputs),
            "wall_seconds": round(wall, 3),
            "device_seconds": round(cost.get("device_seconds", wall), 3),
        }
        write_json(self.stages, {**self._stages(), stage: record})

    def costs(self) -> dict[str, dict[str, float]]:
        """Wall and device seconds of each finished stage, in the order they finished."""
        return {
            name: {key: record[key] for key in ("wall_seconds", "device_seconds")}
            for name, record in self._stages().items()
        }

    def _stages(self) -> dict[str, Any]:
        return read_json(self.stages) if self.stages.exists() else {}


def place(text: str) -> Path:
    """The path of a local folder or of an object store's URL, such as s3://bucket/folder.

    Raises InputError when the packages for object stores are missing.
    """
    if "://" not in text:
        return Path(text).expanduser().absolute()
    try:
        from upath import UPath

        # Others write there too: what a listing said a minute ago is no use.
        return UPath(text, use_listings_cache=False)  # type: ignore[return-value]
    except ImportError as error:
        raise InputError(f"{text}: {error}; install qsit_ray[s3]") from None


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary local path, file or folder; it takes the name `path` if all went well.

    A process that dies in between leaves the old `path`, or none, but never half of a new one: on
    an object store one file is written at once, and a folder is `whole` by a mark written last.
    """
    if not isinstance(path, Path):
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / path.name
            yield temporary
            _upload(temporary, path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name, so that what a killed process left is cleared away by the next.
    temporary = path.with_name(f".{path.name}.partial")
    _remove(temporary)
    try:
        yield temporary
        if temporary.is_dir() and path.exists():
            # A folder can't be replaced in one step: set the old one aside first.
            aside = path.with_name(f".{path.name}.old")
            _remove(aside)
            path.rename(aside)
            temporary.rename(path)
            _remove(aside)
        else:
            temporary.replace(path)
    finally:
        _remove(temporary)


def write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write finite JSON; a NaN or an infinity raises ValueError."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_jsonl(path: Path, values: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(value, allow_nan=False) + "\n" for value in values))


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: can't read it as JSON: {error}") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Records of a JSON-lines file. Raises InputError naming the file and line."""
    records = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't read it: {error}") from None
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number}: not JSON: {error}") from None
    return records


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def whole(folder: Path) -> bool:
    """Whether a folder that `atomic` wrote is there."""
    return folder.is_dir() if isinstance(folder, Path) else (folder / WHOLE).exists()


@contextmanager
def local(folder: Path) -> Iterator[Path]:
    """A folder's files on this machine: the folder itself, or a copy for as long as the block."""
    if isinstance(folder, Path):
        yield folder
        return
    with tempfile.TemporaryDirectory() as copy:
        for file in folder.rglob("*"):
            if file.is_file() and file.name != WHOLE:
                target = Path(copy) / file.relative_to(folder).as_posix()
                target.parent.mkdir(parents=True, exist_ok=True)
                file.fs.get_file(file.path, str(target))
        yield Path(copy)


def remove(path: Path) -> None:
    """Remove a file or a folder, if there is one."""
    if isinstance(path, Path):
        _remove(path)
    elif path.exists():
        path.fs.rm(path.path, recursive=True)


def _upload(source: Path, target: Any) -> None:
    if source.is_file():
        target.fs.put_file(str(source), target.path)
        return
    remove(target)
    for file in sorted(source.rglob("*")):
        if file.is_file():
            key = target / file.relative_to(source).as_posix()
            key.fs.put_file(str(file), key.path)
    (target / WHOLE).write_text("")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
