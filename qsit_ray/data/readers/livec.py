"""pure: LIVE In the Wild Challenge (Ghadiyaram and Bovik 2016): names, MOS and deviations as .mat.

The first seven images trained the raters; they are left out, as in the owners' own figures (1,162).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from qsit_ray.data.labels import Label, Labels
from qsit_ray.data.readers import files
from qsit_ray.errors import InputError

FILES = ("AllImages_release.mat",)
TRAINING = 7


def read(folder: Path) -> Labels:
    names = [str(np.asarray(each).ravel()[0]) for each in _values(folder, "AllImages_release")]
    mos, std = (
        _values(folder, name).astype(float) for name in ("AllMOS_release", "AllStdDev_release")
    )
    if not len(names) == len(mos) == len(std):
        raise InputError(
            f"{folder}: {len(names)} names, {len(mos)} scores and {len(std)} deviations in its "
            ".mat files; each image needs all"
        )
    images = files.placed(folder, names)
    rows = [
        Label(name, image, mos=float(score), std=float(deviation))
        for name, image, score, deviation in zip(names, images, mos, std, strict=True)
    ]
    return Labels("livec", rows[TRAINING:], 0.0, 100.0)


def _values(folder: Path, name: str) -> Any:
    """The values of the variable `name` of the file of that name."""
    from scipy.io import loadmat  # lazily: only this database has such files

    file = files.find(folder, f"{name}.mat")
    try:
        found = loadmat(file)
    except Exception as error:  # a broken file can make the parser raise anything
        raise InputError(f"{file}: not a MATLAB file ({error})") from None
    if name not in found:
        raise InputError(f"{file}: no variable {name}")
    return np.asarray(found[name]).ravel()
