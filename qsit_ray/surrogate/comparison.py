"""pure: the curve that a search goes by, the paper's and the recommended one (`fit.json`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from qsit_ray.errors import InputError
from qsit_ray.surrogate.alternatives import PROCESS, left_out_errors, polynomial_name
from qsit_ray.surrogate.coordinates import COORDINATES, Coordinate
from qsit_ray.surrogate.curve import Fit, polynomial, process
from qsit_ray.surrogate.observations import Observations

Surrogate = Literal["polynomial", "recommended"]
PAPER_DEGREE = 4
# In simulation its intervals hold on every kind of curve, those of polynomials do not, and neither
# do those of whichever curve has the least left-out error: docs/SEARCH.md.
RECOMMENDED = PROCESS


@dataclass(frozen=True)
class Comparison:
    """Curves fitted to one search by name: the recommended one, the paper's quartic in each
    coordinate and the polynomial asked for, of which `used` is gone by.

    `rivals`: leave-one-ratio-out errors by curve, of more curves than were worked out. `lost`:
    ratios without any score.
    """

    used: str
    recommended: str
    curves: Mapping[str, Fit]
    rivals: Mapping[str, float | None]
    lost: tuple[float, ...]

    @property
    def fit(self) -> Fit:
        """The curve that is used."""
        return self.curves[self.used]

    @property
    def verdict(self) -> str:
        """That of the used curve; where it is not the recommended one, what that one says."""
        text = self.fit.verdict
        if self.used != self.recommended:
            other = self.curves[self.recommended]
            low, high = other.interval
            text += (
                f" The recommended curve, a {self.recommended}, has its best ratio at "
                f"{other.optimum:.3g}, with {100 * other.confidence:g} % from {low:.3g} to "
                f"{high:.3g}."
            )
        return text

    def to_json(self) -> dict[str, Any]:
        """The used curve's content, and beside it `recommended`, `rivals`, `degraded`,
        `lost_ratios` and all `curves` by name."""
        return {
            **self.fit.to_json(),
            "verdict": self.verdict,
            "recommended": self.recommended,
            "rivals": dict(self.rivals),
            "degraded": self.fit.dropped > 0,
            "lost_ratios": list(self.lost),
            "curves": {name: fit.to_json() for name, fit in self.curves.items()},
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Comparison:
        """The inverse of `to_json`."""
        return cls(
            used=content["curve"],
            recommended=content["recommended"],
            curves={name: Fit.from_json(fit) for name, fit in content["curves"].items()},
            rivals=content["rivals"],
            lost=tuple(content["lost_ratios"]),
        )


def compare(
    seen: Observations,
    use: Surrogate = "polynomial",
    degree: int = PAPER_DEGREE,
    coordinate: Coordinate = "ratio",
    seed: int = 0,
    confidence: float = 0.95,
) -> Comparison:
    """Fit all curves to one search and go by the polynomial asked for or the recommended curve.

    A quartic that the ratios do not carry is left out, unless it is the one asked for. Raises
    InputError where the curve to use can't be fitted.
    """
    asked = polynomial_name(degree, coordinate)
    wanted = {asked: (degree, coordinate)} | {
        polynomial_name(PAPER_DEGREE, c): (PAPER_DEGREE, c) for c in COORDINATES
    }
    curves = {RECOMMENDED: process(seen, seed, confidence)}
    for name, (d, c) in wanted.items():
        try:
            curves[name] = polynomial(seen, d, c, seed, confidence)
        except InputError:
            if name == asked and use == "polynomial":
                raise
    return Comparison(
        used=RECOMMENDED if use == "recommended" else asked,
        recommended=RECOMMENDED,
        curves=curves,
        rivals=left_out_errors(seen, degree, coordinate),
        lost=seen.lost,
    )
