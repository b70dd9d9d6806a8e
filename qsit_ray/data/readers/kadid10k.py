"""pure: KADID-10k (Lin et al. 2019): dmos.csv, whose scores rise with quality despite their name.

The raters compared with the pristine image, and 5 says that no difference is seen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qsit_ray import tables
from qsit_ray.data.labels import Label, Labels
from qsit_ray.data.readers import files

FILES = ("dmos.csv",)


def read(folder: Path) -> Labels:
    table = tables.read(files.find(folder, *FILES))
    names = table.ids("dist_img")
    std = np.sqrt(table.numbers("var"))
    rows = [
        Label(name, image, float(mos), float(deviation), reference=reference)
        for name, image, mos, deviation, reference in zip(
            names,
            files.placed(folder, names),
            table.numbers("dmos"),
            std,
            table.labels("ref_img"),
            strict=True,
        )
    ]
    return Labels("kadid10k", rows, 1.0, 5.0)
