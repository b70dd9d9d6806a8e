"""pure: a run made from another with settings of its own: what they don't change is not made again.

What is kept is copied. Large files that are only ever replaced whole are hard links where the disk
has them: a later run can't write through these into the other run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.changes import Change, Part, changes, parts_of
from qsit_ray.config.config import Config
from qsit_ray.config.places import absolute
from qsit_ray.config.search import setting
from qsit_ray.data.catalog import IMAGES
from qsit_ray.data.writing import link_images
from qsit_ray.errors import InputError
from qsit_ray.mixture import Axis
from qsit_ray.run_config import opened

# Files and folders of a run. Of the data the stages themselves tell whether it is what they need.
DATA = ("catalog", "tokens", "features", "base_models.json", "hashes.json", "search/earlier")
PROXIES, TRAIN = ("proxy", "mixture.json"), ("train", "evaluation")
LINKED = (
    *("catalog/*", "tokens/*", "features/*", "proxy/model/*", "train/model/*"),
    "train/ray-*/epoch_*",  # checkpoints
)


def fork(source: RunFolder, run: RunFolder, settings: Config) -> list[str]:
    """Give a new run folder the results of another that `settings` leave as they are, without its
    config.yaml, and remove what an earlier call with other settings gave it. Returns the names of
    the stages that were complete there, which are written last.

    A search to which trials are added keeps those it has, and a training its checkpoints where
    epochs are. Raises InputError where there is no such run, it is this one, a process works on it,
    both would have one `search.storage`, or the disk is full.
    """
    before = opened(source)
    if source.path.resolve() == run.path.resolve():
        raise InputError(f"--from {source.path}: the run itself; give another --out")
    if settings.search.storage is not None and settings.search.storage == before.search.storage:
        raise InputError(
            f"search.storage: {source.path} has its trials there; --set search.storage=… to another"
        )
    with source.lock(), _told(source, run):
        axes = before.axes
        of, stages = _files(axes), _stages(axes)
        parts = kept(changes(absolute(before), absolute(settings)), axes)
        if before.search.storage != settings.search.storage:
            parts = ()  # the trials are elsewhere
        wanted = (*DATA, *(name for part in parts for name in of[part]))
        for name in (*DATA, *(name for names in of.values() for name in names)):
            if name in wanted and (source.path / name).exists():
                _copy(source.path, run.path, name)
            else:
                artifacts.remove(run.path / name)
        images = source.catalog / IMAGES
        if images.is_symlink():
            link_images(run.catalog, images.resolve())
        lost = {stage for part in stages if part not in parts for stage in stages[part]}
        there = artifacts.read_json(source.stages) if source.stages.exists() else {}
        records = {name: each for name, each in there.items() if name not in lost}
        artifacts.write_json(run.stages, records)
    return list(records)


@contextmanager
def _told(source: RunFolder, run: RunFolder) -> Iterator[None]:
    """Raises InputError where a file can't be read or written."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{run.path}: can't be made from {source.path}: {error}") from None


def kept(found: Iterable[Change], axes: Sequence[Axis]) -> tuple[Part, ...]:
    """The parts of a run over these axes that changes of its settings leave as they are, or only
    add to."""
    order = parts_of(axes)
    whole = len(order)
    for change in found:
        whole = min([whole, *map(order.index, change.parts)])
        if change.kind == "extension" and change.key.startswith("search."):
            whole = min(whole, order.index(_added_to(change.key, axes)) + 1)
    return order[:whole]


def _added_to(key: str, axes: Sequence[Axis]) -> Part:
    """The first part to which a setting of the search adds trials."""
    *searches, proxies, _ = parts_of(axes)
    if key == "search.proxy_seeds":
        return proxies
    own = [
        part
        for part, axis in zip(searches, axes, strict=True)
        if key.startswith(f"{setting(axis.name)}.")
    ]
    return own[0] if own else searches[0]


def _files(axes: Sequence[Axis]) -> dict[Part, tuple[str, ...]]:
    """The files and folders of each part."""
    searches = ((f"search/{axis.name}",) for axis in axes)
    return dict(zip(parts_of(axes), (*searches, PROXIES, TRAIN), strict=True))


def _stages(axes: Sequence[Axis]) -> dict[Part, tuple[str, ...]]:
    """The stages of each part."""
    searches = ((f"search {axis.name}", f"fit {axis.name}") for axis in axes)
    return dict(zip(parts_of(axes), (*searches, ("proxies",), ("train", "evaluate")), strict=True))


def _copy(source: Path, to: Path, name: str) -> None:
    def file(this: str, there: str) -> None:
        below = str(Path(this).relative_to(source))
        if any(fnmatch(below, pattern) for pattern in LINKED):
            try:
                os.link(this, there)
                return
            except OSError:  # another disk, or one without links
                pass
        shutil.copy2(this, there)

    with artifacts.atomic(to / name) as temporary:
        if (source / name).is_dir():
            shutil.copytree(source / name, temporary, symlinks=True, copy_function=file)
        else:
            file(str(source / name), str(temporary))
