"""pure: the image-quality databases as their owners ship them, each read into labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Reader:
    """Reads a folder. `files`: names of the label file by which the database is known; none where
    only images are used."""

    read: Callable[[Path], Labels]
    files: tuple[str, ...] = ()


READERS: Mapping[str, Reader] = {
    "koniq": Reader(koniq.read, koniq.FILES),
    "spaq": Reader(spaq.read, spaq.FILES),
    "livec": Reader(livec.read, livec.FILES),
    "agiqa3k": Reader(agiqa3k.read, agiqa3k.FILES),
    "kadid10k": Reader(kadid10k.read, kadid10k.FILES),
    "paq2piq": Reader(paq2piq.read, paq2piq.FILES),
    "tid2013": Reader(tid2013.read, tid2013.FILES),
    "csiq": Reader(csiq.read, csiq.FILES),
    "imagerewarddb": Reader(folder.imagerewarddb),
    "coco": Reader(folder.coco),
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
    labels = READERS[name].read(path)
    labels.check(path)
    return labels
