"""pure: which rows of a task validate: images drawn by a seed, evenly over data sets and levels."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

LEAST = 2
"""Photographs of a data set of four or more that validate at least, as SRCC needs."""


@dataclass(frozen=True)
class TaskRows:
    """Of a task's rows, one after another: the image, the photograph that it was made of, the data
    set, and the level, which only scoring rows have."""

    image: pa.ChunkedArray
    photograph: pa.ChunkedArray
    dataset: pa.ChunkedArray
    level: pa.ChunkedArray


def held_out(rows: TaskRows, share: float, seed: int) -> NDArray[np.bool_]:
    """Which rows are held out: those of `share` of the photographs.

    The rows of a photograph, or of several images made of it, stay together. Its first row says
    what it is of: its data set and level, of which validation gets the same share as of all. A data
    set of four photographs or more has two in validation at least, as SRCC needs.
    """
    image = _numbers(rows.image)
    _, first_of_image = np.unique(image, return_index=True)
    # An image is of one photograph, whatever later rows say.
    photograph = _numbers(rows.photograph)[first_of_image][image]
    _, first, group = np.unique(photograph, return_index=True, return_inverse=True)
    appearance = np.argsort(np.argsort(first))  # groups are numbered by their first rows
    group, first = appearance[group], np.sort(first)
    count = len(first)
    dataset, level = (_ranks(column)[first] for column in (rows.dataset, rows.level))
    chance = np.random.default_rng([seed, count]).random(count)
    order = np.lexsort((chance, level, dataset))
    # Evenly spaced places of this order: each data set and level has its share to within one.
    ends = np.arange(count + 1) * round(share * count) // max(count, 1)
    drawn = np.zeros(count, np.bool_)
    drawn[order[np.diff(ends) > 0]] = True
    for _, of_set in itertools.groupby(order.tolist(), key=dataset.__getitem__):
        few = list(of_set)
        if len(few) >= 2 * LEAST and drawn[few].sum() < LEAST:
            drawn[few] = False
            drawn[[few[len(few) // 4], few[-1 - len(few) // 4]]] = True
    found: NDArray[np.bool_] = drawn[group]
    return found


def first_of_each(values: pa.ChunkedArray) -> NDArray[np.int64]:
    """The places at which values occur first, in order."""
    return np.sort(np.unique(_numbers(values), return_index=True)[1])


def _numbers(texts: pa.ChunkedArray) -> NDArray[np.int32]:
    """A number for each distinct text; null is one, too."""
    encoded = texts.combine_chunks().dictionary_encode(null_encoding="encode")
    numbers: NDArray[np.int32] = encoded.indices.to_numpy()
    return numbers


def _ranks(texts: pa.ChunkedArray) -> NDArray[np.int64]:
    """The place of each text among the distinct ones in order; null counts as an empty one."""
    encoded = pc.fill_null(texts, "").combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    place = {name: rank for rank, name in enumerate(sorted(names))}
    ranks: NDArray[np.int64] = np.array([place[name] for name in names], np.int64)[
        encoded.indices.to_numpy()
    ]
    return ranks
