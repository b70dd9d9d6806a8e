"""pure: SPAQ (Fang et al. 2020): MOS and attributes of smartphone photographs as xlsx, 0 to 100."""

from __future__ import annotations

from pathlib import Path

from qsit_ray import tables
from qsit_ray.data.labels import Label, Labels
from qsit_ray.data.readers import files

FILES = ("MOS and Image attribute scores.xlsx", "MOS_and_Image_attribute_scores.xlsx")
ATTRIBUTES = ("Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness")


def read(folder: Path) -> Labels:
    table = tables.read(files.find(folder, *FILES))
    names = table.ids("Image name")
    attributes = {name.lower(): table.numbers(name) for name in ATTRIBUTES if name in table.names}
    rows = [
        Label(
            name,
            image,
            mos=float(mos),
            attributes={key: float(values[row]) for key, values in attributes.items()},
        )
        for row, (name, image, mos) in enumerate(
            zip(names, files.placed(folder, names), table.numbers("MOS"), strict=True)
        )
    ]
    return Labels("spaq", rows, 0.0, 100.0)
