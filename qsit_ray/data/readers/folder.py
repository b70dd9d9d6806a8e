"""pure: databases of which only the images are used: ImageRewardDB and COCO."""

from __future__ import annotations

from pathlib import Path

from qsit_ray.data.labels import Label, Labels
from qsit_ray.data.readers import files


def imagerewarddb(folder: Path) -> Labels:
    return _images("imagerewarddb", folder)


def coco(folder: Path) -> Labels:
    return _images("coco", folder)


def _images(dataset: str, folder: Path) -> Labels:
    return Labels(dataset, [Label(path, path) for path in files.images(folder)])
