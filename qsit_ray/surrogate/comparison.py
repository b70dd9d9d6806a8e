"""pure: the curves fitted to one search: the used, the paper's and the recommended (`fit.json`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from qsit_ray.errors import InputError
from qsit_ray.surrogate.alternatives import PROCESS, leave_one_out_errors, polynomial_name
from qsit_ray.surrogate.coordinates import COORDINATES, Coordinate
from qsit_ray.surrogate.curve import Fit, polynomial, process
from qsit_ray.surrogate.observations import Observations

Surrogate = Literal["polynomial", "recommended"]
PAPER_DEGREE = 4
# In simulation its intervals cover the best ratio for every kind of curve; those of polynomials do
# not, nor do those of the curve with the least leave-one-out error (docs/SEARCH.md).
RECOMMENDED = PROCESS


@dataclass(frozen=True)
class Comparison:
    """Curves fitted to one search by name: the recommended one, the paper's quartic in each
    coordinate and the polynomial asked for. `used` names the one that gives the optimum.

    `alternatives`: leave-one-ratio-out errors by curve, also of curves not in `curves`. `lost`:
    ratios without any score.
    """

    used: str
    recommended: str
    curves: Mapping[str, Fit]
    alternatives: Mapping[str, float | None]
    lost: tuple[float, ...]

    @property
    def fit(self) -> Fit:
        """The curve that is used."""
        return self.curves[self.used]

    @property
    def verdict(self) -> str:
        """That of the used curve, and the optimum of the recommended one where that is another."""
        text = self.fit.verdict
        if self.used != self.recommended:
            other = self.curves[self.recommended]
            low, high = other.interval
            text += (
                f" The recommended curve, a {self.recommended}, has its best ratio at "
                f"{other.optimum:.3g}, {100 * other.confidence:g} % interval {low:.3g} to "
                f"{high:.3g}."
            )
        return text

    def to_json(self) -> dict[str, Any]:
        """The content of fit.json: the used curve's values and those of the comparison."""
        return {
            **self.fit.to_json(),
            "verdict": self.verdict,
            "recommended": self.recommended,
            "rivals": dict(self.alternatives),
            "degraded": self.fit.dropped > 0,
            "lost_ratios": list(self.lost),
            "curves": {name: fit.to_json() for name, fit in self.curves.items()},
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Comparison:
        """The inverse of `to_json`. Raises KeyError where a key is absent."""
        return cls(
            used=content["curve"],
            recommended=content["recommended"],
            curves={name: Fit.from_json(fit) for name, fit in content["curves"].items()},
            alternatives=content["rivals"],
            lost=tuple(content["lost_ratios"]),
        )


def compare_curves(
    seen: Observations,
    use: Surrogate = "polynomial",
    degree: int = PAPER_DEGREE,
    coordinate: Coordinate = "ratio",
    seed: int = 0,
    confidence: float = 0.95,
) -> Comparison:
    """Fit all curves to one search; the polynomial asked for or the recommended curve is used.

    A polynomial that is not used is omitted where the ratios are too few for it. Raises InputError
    where the used curve cannot be fitted.
    """
    asked = polynomial_name(degree, coordinate)
    wanted = {asked: (degree, coordinate)}
    wanted |= {polynomial_name(PAPER_DEGREE, c): (PAPER_DEGREE, c) for c in COORDINATES}
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
        alternatives=leave_one_out_errors(seen, degree, coordinate),
        lost=seen.lost,
    )
