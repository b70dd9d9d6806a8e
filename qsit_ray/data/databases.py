"""pure: the image-quality databases as their owners ship them, each read into labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from qsit_ray.data.labels import Labels
from qsit_ray.data.readers import (
    agiqa3k,
    csiq,
    folder,
    kadid10k,
    koniq,
    livec,
    paq2piq,
    spaq,
    tid2013,
)
from qsit_ray.errors import InputError

READERS: Mapping[str, Callable[[Path], Labels]] = {
    "koniq": koniq.read,
    "spaq": spaq.read,
    "livec": livec.read,
    "agiqa3k": agiqa3k.read,
    "kadid10k": kadid10k.read,
    "paq2piq": paq2piq.read,
    "tid2013": tid2013.read,
    "csiq": csiq.read,
    "imagerewarddb": folder.imagerewarddb,
    "coco": folder.coco,
}


def read(name: str, path: Path) -> Labels:
    """The labels of a database below a folder.

    Raises InputError for an unknown name, a file that is missing or can't be read, and labels that
    can't be right.
    """
    if name not in READERS:
        raise InputError(f"{name}: unknown; expected {', '.join(READERS)}")
    if not path.is_dir():
        raise InputError(f"{path}: no such folder")
    labels = READERS[name](path)
    labels.check(path)
    return labels
