"""pure: the coordinates that a response is fitted over: the ratio, its logarithm, its share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Coordinate = Literal["ratio", "log", "share"]
COORDINATES: tuple[Coordinate, ...] = get_args(Coordinate)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """Ratios from `low` to `high` as u in [-1, 1]: u = 2 (t - t(low)) / (t(high) - t(low)) - 1,
    where t is the ratio, its logarithm or its share r / (1 + r)."""

    coordinate: Coordinate
    low: float
    high: float

    def units(self, ratios: ArrayLike) -> Floats:
        """u of each ratio, same shape."""
        start, stop = self._ends
        t = _transform(np.asarray(ratios, dtype=np.float64), self.coordinate)
        return np.asarray(2 * (t - start) / (stop - start) - 1)

    def ratios(self, units: ArrayLike) -> Floats:
        """The inverse of `units`, same shape; exact at both ends, which no result exceeds."""
        u = np.asarray(units, dtype=np.float64)
        start, stop = self._ends
        t = start + (u + 1) / 2 * (stop - start)
        if self.coordinate == "log":
            t = np.exp(t)
        elif self.coordinate == "share":
            t = t / (1 - t)
        inside = np.clip(t, self.low, self.high)
        return np.where(u <= -1, self.low, np.where(u >= 1, self.high, inside))

    @property
    def _ends(self) -> Floats:
        return _transform(np.array([self.low, self.high]), self.coordinate)


def _transform(ratios: Floats, coordinate: Coordinate) -> Floats:
    if coordinate == "log":
        return np.log(ratios)
    return ratios / (1 + ratios) if coordinate == "share" else ratios
