"""pure: CSIQ (Larson and Chandler 2010): DMOS from 0 to 1, which falls with quality.

Lines of `csiq_dmos.txt` or `csiq.beta.txt`: image, number and name of the distortion, its level,
deviation, DMOS. The distorted image is dst_imgs/<folder>/<image>.<type>.<level>.png.
"""

from __future__ import annotations

from pathlib import Path

from qsit_ray.data.labels import Label, Labels
from qsit_ray.data.readers import files
from qsit_ray.data.readers.lines import cells
from qsit_ray.errors import InputError

# By the distortion's number: the type in the image's name.
TYPES = {1: "AWGN", 2: "JPEG", 3: "jpeg2000", 4: "fnoise", 5: "BLUR", 6: "contrast"}


FILES = ("csiq_dmos.txt", "csiq.beta.txt")


def read(folder: Path) -> Labels:
    path = files.find(folder, *FILES)
    found = cells(path, str, int, str, int, float, float)
    for line, (_, kind, *_) in enumerate(found, start=1):
        if kind not in TYPES:
            raise InputError(f"{path}, line {line}: distortion {kind}; expected 1 to 6")
    names = [f"{image}.{TYPES[kind]}.{level}.png" for image, kind, _, level, _, _ in found]
    rows = [
        Label(name, image, dmos, std, reference=reference)
        for name, image, (reference, _, _, _, std, dmos) in zip(
            names, files.placed(folder, names), found, strict=True
        )
    ]
    return Labels("csiq", rows, 0.0, 1.0, lower_better=True)
