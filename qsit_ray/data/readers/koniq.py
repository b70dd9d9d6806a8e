"""pure: KonIQ-10k (Hosu et al. 2020): scores and distributions as csv, and the official splits.

`koniq10k_scores_and_distributions.csv` counts the votes c1 to c5; `koniq10k_distributions_sets.csv`
has them as shares, with the split. The MOS is MOS_zscore (`MOS` in the file of sets), from 0 to
100, which Q-SIT's labels use; SD is on the votes' scale of 1 to 5, and is multiplied by 25.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qsit_ray import tables
from qsit_ray.data.labels import Label, Labels
from qsit_ray.data.readers import files

SETS = "koniq10k_distributions_sets.csv"
FILES = ("koniq10k_scores_and_distributions.csv", SETS)
POINTS = 25.0
"""Of 0 to 100 to one of 1 to 5."""


def read(folder: Path) -> Labels:
    table = tables.read(files.find(folder, *FILES))
    sets = files.maybe(folder, SETS)
    splits: dict[str, str | None] = {}
    if sets is not None:
        owned = tables.read(sets)
        splits = dict(zip(owned.ids("image_name"), owned.texts("set"), strict=True))
    names = table.ids("image_name")
    score = table.first_of("another file", ("MOS_zscore", "MOS"), several=True)
    votes = [table.numbers(f"c{level}") for level in range(1, 6)]
    total = np.sum(votes, axis=0)
    rows = [
        Label(
            name,
            image,
            mos=float(mos),
            std=float(std) * POINTS,
            votes=tuple(float(each[row] / total[row]) for each in votes),
            split=splits.get(name),
        )
        for row, (name, image, mos, std) in enumerate(
            zip(
                names,
                files.placed(folder, names),
                table.numbers(score),
                table.numbers("SD"),
                strict=True,
            )
        )
    ]
    return Labels("koniq", rows, 0.0, 100.0)
