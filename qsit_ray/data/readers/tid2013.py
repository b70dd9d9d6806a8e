"""pure: TID2013 (Ponomarenko et al. 2015): lines "MOS name", 0 to 9, and deviations in mos_std.txt.

A name is I<reference>_<distortion>_<level>; one reference has 120 images.
"""

from __future__ import annotations

from pathlib import Path

from qsit_ray.data.labels import Label, Labels
from qsit_ray.data.readers import files
from qsit_ray.data.readers.lines import cells
from qsit_ray.errors import InputError

FILES = ("mos_with_names.txt",)


def read(folder: Path) -> Labels:
    path = files.find(folder, *FILES)
    scored = cells(path, float, str)
    deviations = files.maybe(folder, "mos_std.txt")
    std: list[float | None] = [None] * len(scored)
    if deviations is not None:
        std = [each for (each,) in cells(deviations, float)]
        if len(std) != len(scored):
            raise InputError(f"{deviations}: {len(std)} lines; {path.name} has {len(scored)}")
    images = files.placed(folder, [name for _, name in scored])
    rows = [
        Label(name, image, mos, deviation, reference=name.partition("_")[0].upper())
        for (mos, name), image, deviation in zip(scored, images, std, strict=True)
    ]
    return Labels("tid2013", rows, 0.0, 9.0)
