"""rim: distorts the images below a folder or in a bucket, as a Ray Data job.

What an image gets follows from its name and the seed. An output that is there is complete and is
not made again, so that a job that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from qsit_ray import artifacts
from qsit_ray.data import images
from qsit_ray.data.distortions import check_packages, distorted, drawn
from qsit_ray.data.readers import files
from qsit_ray.errors import InputError
from qsit_ray.session import cores, session

BLOCK = 16
"""Images of a task."""
MEMORY = 3.0 * 2**30
"""Bytes that a task may need: elastic_transform of 12 megapixels takes 2.7 GiB."""


@dataclass(frozen=True)
class Done:
    """Images in = `images` out + `rejected`; `made`: by this command."""

    images: int
    made: int
    rejected: int


def distort(source: Path, out: Path, seed: int, report: Callable[[int, int], None]) -> Done:
    """Distort every image below `source`, a folder or a bucket's, into `out`, as PNG.

    Writes `distortions.jsonl` with image, source, kind, severity and seed of each, and
    `rejects.jsonl` with those that can't be read and why. Raises InputError where there is no
    image, one of the folders is within the other, `out` was made with another seed, or a package
    that the distortions need is missing.
    """
    check_packages()
    alike = type(out) is type(source)
    if alike and (out.is_relative_to(source) or source.is_relative_to(out)):
        raise InputError(f"{out}: one within the other with {source}; give two folders")
    names = _images(source)
    if not names:
        raise InputError(f"{source}: no image below it")
    there = set(_images(out))
    _keep_seed(out / "settings.json", seed, there)
    pending = [name for name in names if target(name) not in there]
    report(len(names) - len(pending), len(names))
    rejects: dict[str, str] = {}
    done = len(names) - len(pending)
    for block in _blocks(Distorter(source, out, seed), pending):
        pairs = zip(block["name"].tolist(), block["error"].tolist(), strict=True)
        rejects |= {name: error for name, error in pairs if error}
        done += len(block["name"])
        report(done, len(names))
    made = [name for name in names if name not in rejects]
    artifacts.write_jsonl(
        out / "distortions.jsonl",
        [{"image": target(name), "source": name, **asdict(drawn(name, seed))} for name in made],
    )
    listed = [{"source": name, "reason": rejects[name]} for name in sorted(rejects)]
    artifacts.write_jsonl(out / "rejects.jsonl", listed)
    return Done(len(made), len(pending) - len(rejects), len(rejects))


def _blocks(distorter: Distorter, names: list[str]) -> Iterator[Mapping[str, Any]]:
    """What `distorter` gives for the names, block by block; a single block needs no Ray."""
    if len(names) <= BLOCK:
        yield distorter({"name": np.array(names, object)})
        return
    with session(processes=cores()):
        import ray

        yield from (
            ray.data.from_items(
                [{"name": name} for name in names],
                override_num_blocks=-(-len(names) // BLOCK),
            )
            .map_batches(distorter, batch_size=None, memory=min(MEMORY, _most_memory(ray.nodes())))
            .iter_batches(batch_size=None)
        )


def _most_memory(nodes: list[dict[str, Any]]) -> float:
    """Bytes of the node that has most: no task may ask for more, or it would wait for ever."""
    return max(node["Resources"].get("memory", 0.0) for node in nodes)


def _keep_seed(path: Path, seed: int, there: set[str]) -> None:
    """Raises InputError for outputs of another seed, or of unknown origin."""
    if path.exists():
        made_with = artifacts.read_json(path)
        if made_with != {"seed": seed}:
            raise InputError(
                f"{path}: the images there were made with {made_with}, not seed {seed}"
            )
    elif there:
        raise InputError(
            f"{path.parent}: has {len(there):,} images of another origin; give another"
        )
    else:
        artifacts.write_json(path, {"seed": seed})


def target(name: str) -> str:
    """The name of an image's distorted form: PNG, which loses nothing more."""
    return f"{name}.png"


@dataclass(frozen=True)
class Distorter:
    """Distorts the images of a block, in a Ray task."""

    source: Path
    out: Path
    seed: int

    def __call__(self, block: Mapping[str, Any]) -> dict[str, Any]:
        names = block["name"].tolist()
        errors = [self._error(name) for name in names]
        return {"name": np.array(names, object), "error": np.array(errors, object)}

    def _error(self, name: str) -> str:
        """Why an image was not distorted, or nothing."""
        try:
            content = (self.source / name).read_bytes()
            pixels = np.asarray(images.from_bytes(content, name))
        except (InputError, OSError) as error:
            return f"can't be read: {error}"
        try:
            pixels = distorted(pixels, drawn(name, self.seed))
        except MemoryError:
            raise
        except InputError as error:
            return str(error)
        except Exception as error:  # the package's functions raise whatever an odd image makes them
            return f"can't be distorted: {' '.join(str(error).split()) or type(error).__name__}"
        with artifacts.atomic(self.out / target(name)) as temporary:
            Image.fromarray(pixels).save(temporary, "PNG")
        return ""


def _images(folder: Path) -> list[str]:
    """The paths of all image files from their folder, in order; none where it does not exist."""
    known = files.endings()
    if not folder.exists():
        return []
    if isinstance(folder, Path):
        every = [path.relative_to(folder).as_posix() for path in files.walk(folder)]
    else:  # one listing: a request for each object would take hours
        root = folder.path.rstrip("/")
        every = [path.removeprefix(root).lstrip("/") for path in folder.fs.find(root)]
    named = (name for name in every if PurePosixPath(name).suffix.lower() in known)
    return sorted(name for name in named if not PurePosixPath(name).name.startswith("."))
