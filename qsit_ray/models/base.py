"""pure: the names and the identity of the base checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from qsit_ray import __version__, artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.changes import differ
from qsit_ray.config.config import DEMO_MODELS, Config
from qsit_ray.config.files import validated
from qsit_ray.config.places import absolute
from qsit_ray.errors import InputError
from qsit_ray.models.hub import is_on_hub, pinned, split

Role = Literal["proxy", "primary"]
# From this many bytes on, the user is told what the hashing waits for.
_LARGE = 1 << 30


@dataclass(frozen=True)
class Base:
    """A base model of a run: the name that was asked for, and the one that every command uses.

    `name` is an absolute path, or `organisation/model@commit` on the Hub.
    """

    asked: str
    name: str

    def is_called(self, name: str) -> bool:
        """True for both names, and for another path to the same folder."""
        return name in (self.asked, self.name) or _absolute(name) == self.name


@dataclass(frozen=True)
class Hashed:
    """A file's SHA-256, which holds as long as its size and its time of change stay the same."""

    size: int
    modified_ns: int
    sha256: str


def base_checkpoint(config: Config, which: Role) -> str:
    """Folder or Hugging Face name of the checkpoint that trials, or the primary, start from."""
    name = config.models.proxy if which == "proxy" else config.models.primary
    return str(cache_folder(config) / name.removeprefix("demo/")) if name in DEMO_MODELS else name


def used(config: Config) -> list[Role]:
    """The roles of the base models that the run needs; a rehearsal needs none."""
    if config.search.rehearsal is not None:
        return []
    return ["proxy", "primary"] if config.has_proxies else ["primary"]


def recorded(run: RunFolder) -> dict[str, Base]:
    """The base models in base_models.json, by role; none where there is no such file."""
    if not run.base_models.exists():
        return {}
    values = artifacts.read_json(run.base_models)
    return validated(dict[str, Base], values, str(run.base_models))


def record(run: RunFolder, bases: dict[str, Base]) -> None:
    """Write base_models.json where it does not have these base models."""
    if bases != recorded(run):
        artifacts.write_json(run.base_models, {role: asdict(base) for role, base in bases.items()})


def with_names(config: Config, bases: dict[str, Base]) -> Config:
    """`config` with the names that every command uses in place of those that were asked for."""
    asked = config.models.model_dump()
    names = {role: base.name for role, base in bases.items() if base.is_called(asked[role])}
    return config.model_copy(update={"models": config.models.model_copy(update=names)})


def resolved(run: RunFolder, config: Config) -> dict[str, Base]:
    """The base models that the run needs, by role, without the demo's own.

    A path becomes absolute, and a name on the Hub is pinned to a commit once in a run. Raises
    InputError naming the setting of a name that can't be pinned.
    """
    before = recorded(run)
    found: dict[str, Base] = {}
    for role in used(config):
        asked = getattr(config.models, role)
        if asked in DEMO_MODELS:
            continue
        old = before.get(role)
        if old is not None and old.is_called(asked):
            found[role] = old
        elif is_on_hub(asked):
            try:
                found[role] = Base(asked, pinned(asked))
            except InputError as error:
                raise InputError(f"models.{role}: {error}") from None
        else:
            found[role] = Base(asked, _absolute(asked))
    return found


def relative_paths(config: Config) -> list[str]:
    """The settings, by dotted key and value, that are paths relative to the working folder."""
    values = config.model_dump(mode="json"), absolute(config).model_dump(mode="json")
    found = {key: before for key, before, _ in differ(*values) if before is not None}
    for role in used(config):
        name = getattr(config.models, role)
        if name not in DEMO_MODELS and not is_on_hub(name):
            found[f"models.{role}"] = name
    return [
        f"{key} {path}"
        for key, value in found.items()
        for path in (value if isinstance(value, list) else [value])
        if not path.startswith(("/", "~")) and "://" not in path
    ]


def identity(
    run: RunFolder, name: str, say: Callable[[str], None] = lambda line: None
) -> dict[str, str]:
    """The commit of a model on the Hub; of a folder the hashes of its weights and other files.

    A file is hashed once in a run, as long as its size and time of change stay the same. `say` is
    told before it takes long.
    """
    if is_on_hub(name):
        repo, revision = split(name)
        return {"name": repo, "revision": revision or ""}
    kinds = ("*.safetensors", "*.json", "*.txt")
    files = sorted(path for kind in kinds for path in Path(name).glob(kind))
    known = _hashed(run)
    new = [path for path in files if not _holds(known.get(str(path)), path)]
    waiting = sum(path.stat().st_size for path in new)
    if waiting >= _LARGE:
        say(f"{name}: its files are hashed once, {waiting / 1e9:.1f} GB ...")
    for path in new:
        stat = path.stat()
        known[str(path)] = Hashed(stat.st_size, stat.st_mtime_ns, artifacts.file_sha256(path))
    if new:
        artifacts.write_json(run.hashes, {file: asdict(each) for file, each in known.items()})
    return {path.name: known[str(path)].sha256 for path in files} or {"name": name}


def pretraining_inputs(config: Config) -> dict[str, object]:
    lengths = config.pretraining.model_dump(mode="json") if config.pretraining else {}
    return {"version": __version__, **lengths}


def cache_folder(config: Config) -> Path:
    """Each length of pre-training has its own folder in the cache."""
    key = artifacts.digest(pretraining_inputs(config))[:12]
    return Path(config.cache).expanduser() / f"demo-{key}"


def _absolute(name: str) -> str:
    return str(Path(name).expanduser().absolute())


def _hashed(run: RunFolder) -> dict[str, Hashed]:
    if not run.hashes.exists():
        return {}
    return validated(dict[str, Hashed], artifacts.read_json(run.hashes), str(run.hashes))


def _holds(known: Hashed | None, path: Path) -> bool:
    stat = path.stat()
    return known is not None and (known.size, known.modified_ns) == (stat.st_size, stat.st_mtime_ns)
