"""pure: PaQ-2-PiQ, or LIVE-FB (Ying et al. 2020): labels of whole pictures as csv, 0 to 100.

The label file has a picture a row, with `name_image` and `mos_image`, or `name` and `mos`, and, in
some releases, `is_valid`: false in the validation set.
"""

from __future__ import annotations

from pathlib import Path

from qsit_ray import tables
from qsit_ray.data.labels import Label, Labels
from qsit_ray.data.readers import files

FILES = ("labels_image.csv", "labels<=640_padded.csv", "labels=640_padded.csv")
SPLITS = {"true": "validation", "1": "validation", "false": "training", "0": "training"}


def read(folder: Path) -> Labels:
    table = tables.read(files.find(folder, *FILES))
    names = table.ids(table.first_of("another file", ("name_image", "name"), several=True))
    mos = table.numbers(table.first_of("another file", ("mos_image", "mos"), several=True))
    splits: list[str | None] = [None] * len(names)
    if "is_valid" in table.names:
        splits = [SPLITS.get(str(value).lower()) for value in table.plain("is_valid")]
    rows = [
        Label(name, image, float(score), split=split)
        for name, image, score, split in zip(
            names, files.placed(folder, names), mos, splits, strict=True
        )
    ]
    return Labels("paq2piq", rows, 0.0, 100.0)
