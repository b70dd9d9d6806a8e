"""pure: the names, shapes and types of a checkpoint's weights, from its files' headers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qsit_ray import artifacts
from qsit_ray.errors import InputError

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class Header:
    """A tensor in a safetensors file; `dtype` as the format names it, such as BF16."""

    dtype: str
    shape: tuple[int, ...]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint's weights, which all exist.

    Raises InputError naming the folder and what is missing or is there in their place.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    if (folder / ADAPTER).exists():
        raise InputError(
            f"{folder}: an adapter ({ADAPTER}), not a whole model; merge it into its base model"
        )
    if (folder / WHOLE).exists():
        return [folder / WHOLE]
    if not (folder / INDEX).exists():
        others = sorted(path.name for path in folder.glob("*.bin"))
        there = (
            f"{others[0]} is read by no command; save the model as safetensors" if others else ""
        )
        raise InputError(f"{folder}: no {WHOLE} and no {INDEX}{'; ' + there if there else ''}")
    index = artifacts.read_json(folder / INDEX)
    try:
        names = sorted(set(index["weight_map"].values()))
        files = [folder / name for name in names]
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{folder / INDEX}: no weight_map from weights to files") from None
    missing = [path.name for path in files if not path.exists()]
    if missing or not files:
        raise InputError(
            f"{folder}: {len(missing)} of {len(files)} files of weights are missing, such as "
            f"{missing[0]}"
            if missing
            else f"{folder / INDEX}: it names no file"
        )
    return files


def read(folder: Path) -> dict[str, Header]:
    """The header of each tensor of a checkpoint, by its name there; no weights are read.

    Raises InputError naming the folder, or the file that is cut or is no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    found = {}
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="numpy") as tensors:
                for name in tensors.keys():  # noqa: SIM118  (not a dict)
                    part = tensors.get_slice(name)
                    found[name] = Header(part.get_dtype(), tuple(part.get_shape()))
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: {_kind(path)}: {error}") from None
    return found


def _kind(path: Path) -> str:
    """What is wrong with a file that can't be opened as safetensors."""
    try:
        with path.open("rb") as stream:
            pointer = stream.read(8) == b"version "
    except OSError:
        return "can't read it"
    if pointer:
        return "a Git LFS pointer in place of the weights; `git lfs pull` fetches them"
    return "cut or not a safetensors file"
