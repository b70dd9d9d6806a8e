"""pure: the sizes of the images that a data source names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sizes:
    """Of distinct images: their names below the root, height and width of the upright picture,
    int32 [images], and the error of each that can't be used, whose size is 0."""

    names: pa.Array
    height: NDArray[np.int32]
    width: NDArray[np.int32]
    errors: Mapping[str, str]

    def places(self, names: pa.ChunkedArray) -> NDArray[np.int32]:
        """The place of each name here, all of which are."""
        found: NDArray[np.int32] = pc.index_in(names, value_set=self.names).to_numpy()
        return found
