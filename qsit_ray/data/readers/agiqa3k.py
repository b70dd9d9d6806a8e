"""pure: AGIQA-3K (Li et al. 2023): generated images, MOS of quality from 0 to 5 as csv."""

from __future__ import annotations

from pathlib import Path

from qsit_ray import tables
from qsit_ray.data.labels import Label, Labels
from qsit_ray.data.readers import files

FILES = ("data.csv", "AGIQA-3k.csv")


def read(folder: Path) -> Labels:
    table = tables.read(files.find(folder, *FILES))
    names = table.ids("name")
    columns = [table.numbers(name) for name in ("mos_quality", "std_quality", "mos_align")]
    rows = [
        Label(name, image, float(mos), float(std), attributes={"alignment": float(alignment)})
        for name, image, mos, std, alignment in zip(
            names, files.placed(folder, names), *columns, strict=True
        )
    ]
    return Labels("agiqa3k", rows, 0.0, 5.0)
