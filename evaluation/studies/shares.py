"""pure: how near shares made of MOS and deviation are to the votes, on a table that has both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.stats import norm

from qsit_ray import tables
from qsit_ray.cli.printing import print_table
from qsit_ray.levels import LEVEL_WEIGHTS
from qsit_ray.soft_levels import from_opinion

NUMBERS = np.array(LEVEL_WEIGHTS)
Shares = NDArray[np.float64]


def write(
    table: Annotated[
        Path, typer.Argument(help="Columns c1 to c5, a MOS from 1 to 5, a deviation.")
    ],
    mos: Annotated[str, typer.Option(help="Column of the MOS.")] = "mos_1to5",
    std: Annotated[str, typer.Option(help="Column of the deviation.")] = "std",
) -> None:
    """Wasserstein distance to the votes of both constructions and of one level alone."""
    found = tables.read(table)
    counts = np.column_stack([found.sparse_numbers(f"c{level}") for level in range(1, 6)])
    columns = found.sparse_numbers(mos), found.sparse_numbers(std)
    known = np.isfinite(np.column_stack([counts, *columns])).all(axis=1)
    votes = counts[known] / counts[known].sum(axis=1, keepdims=True)
    means, spreads = (column[known] for column in columns)
    tilted = np.array([from_opinion(m, s, 1, 5) for m, s in zip(means, spreads, strict=True)])
    straight = np.array([linear(m, s) for m, s in zip(means, spreads, strict=True)])
    alone = np.eye(5)[np.rint(np.clip(means, 1, 5)).astype(int) - 1]
    print_table(
        f"{table}: {known.sum():,} images with votes",
        ("shares", "distance to the votes, levels", "negative, share of images"),
        [
            (name, f"{distance(shares, votes):.3f}", f"{(shares < 0).any(axis=1).mean():.3f}")
            for name, shares in (("tilted", tilted), ("linear", straight), ("one level", alone))
        ],
    )


def distance(shares: Shares, votes: Shares) -> float:
    """The mean Wasserstein distance, in levels, of distributions [n, 5]."""
    return float(np.abs(np.cumsum(shares - votes, axis=1)).sum(axis=1).mean())


def linear(mean: float, std: float) -> Shares:
    """DeQA-Score's shares, [5]: the Gaussian's mass times one number plus another, so that they add
    up to 1 and their mean is `mean`."""
    edges = np.array([-np.inf, 1.5, 2.5, 3.5, 4.5, np.inf])
    mass = np.diff(norm.cdf((edges - mean) / std))
    sums = np.array([[mass.sum(), 5.0], [mass @ NUMBERS, NUMBERS.sum()]])
    (factor, shift), *_ = np.linalg.lstsq(sums, np.array([1.0, mean]))
    return np.asarray(factor * mass + shift)
