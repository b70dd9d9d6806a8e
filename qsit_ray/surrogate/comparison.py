"""pure: the curves fitted to one search: the used, the paper's and the recommended (`fit.json`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from qsit_ray.errors import InputError
from qsit_ray.surrogate.alternatives import (
    INFORMED,
    PROCESS,
    leave_one_out_errors,
    polynomial_name,
)
from qsit_ray.surrogate.coordinates import COORDINATES, Coordinate
from qsit_ray.surrogate.curve import Fit, polynomial, process
from qsit_ray.surrogate.evidence import LEAST, Evidence
from qsit_ray.surrogate.evidence import leave_one_out_errors as informed_errors
from qsit_ray.surrogate.observations import Observations
from qsit_ray.surrogate.outliers import Outlier, without_outliers

Surrogate = Literal["polynomial", "recommended"]
Outliers = Literal["drop", "keep"]
Curve = tuple[tuple[float, float], ...]
"""Ratios and values."""
_ZONE = 65
"""Ratios of a regret zone among which the cheapest is looked for."""
CONSTANT = polynomial_name(0, "ratio")
PAPER_DEGREE = 4
# In simulation its intervals cover the best ratio for every kind of curve; those of polynomials do
# not, nor do those of the curve with the least leave-one-out error (docs/SEARCH.md).
RECOMMENDED = PROCESS


@dataclass(frozen=True)
class Comparison:
    """Curves fitted to one search by name: the recommended one, the paper's quartic in each
    coordinate and the polynomial asked for. `used` names the one that gives the optimum.

    `alternatives`: leave-one-ratio-out errors by curve, also of curves not in `curves`. `lost`:
    ratios without any score. `cheapest`: the ratio of the regret zone whose mix has the fewest
    rows, where that is known. `refused`: the curve asked for, where it is not used since it
    predicts worse than a constant. `outliers`: rows left out. `minimize`: scores are losses, and
    the optimum is their least. `losses`: those of the trials over the ratio, smoothed, and their
    quotient, in nats per answer token: `loss_scoring`, `loss_interpreting`, `loss_ratio`.
    `evidence`: names of what the curve with evidence was told.
    """

    used: str
    recommended: str
    curves: Mapping[str, Fit]
    alternatives: Mapping[str, float | None]
    lost: tuple[float, ...]
    cheapest: float | None = None
    refused: str | None = None
    outliers: tuple[Outlier, ...] = ()
    minimize: bool = False
    losses: Mapping[str, Curve] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()

    @property
    def fit(self) -> Fit:
        """The curve that is used."""
        return self.curves[self.used]

    @property
    def ratio(self) -> float:
        """The ratio to take: the optimum; where none stands out, the cheapest that loses nothing
        known."""
        return self.cheapest if self.fit.flat and self.cheapest is not None else self.fit.optimum

    @property
    def doubts(self) -> list[str]:
        """Why more trials may give another ratio."""
        fit = self.fit
        found = []
        if fit.noise is None:
            found.append("the noise of a run is unknown")
        if fit.flat:
            found.append("no ratio stands out from the noise")
        elif fit.optimum in (fit.low, fit.high):
            found.append(f"the best ratio, {fit.optimum:.3g}, is an end of the search")
        if not fit.flat and _is_worse(self.alternatives, self.used):
            found.append("the curve predicts omitted ratios worse than a constant does")
        if fit.dropped:
            found.append(f"{fit.dropped} trials have no score")
        return found

    @property
    def verdict(self) -> str:
        """That of the used curve, and the optimum of the recommended one where that is another;
        rows that were left out."""
        text = self.fit.verdict
        if self.ratio != self.fit.optimum:
            text += f" The cheapest ratio within the regret zone, {self.ratio:.3g}, is taken."
        if self.refused is not None:
            errors = (self.alternatives[name] or 0.0 for name in (self.refused, CONSTANT))
            text += (
                " The {} is not used: it predicts omitted ratios with an error of {:.2g}, a "
                "constant with {:.2g}."
            ).format(self.refused, *errors)
        if not self.fit.flat and _is_worse(self.alternatives, self.used):
            text += (
                " Beware: also this curve predicts omitted ratios worse than a constant does; add "
                "ratios or repeats."
            )
        if self.used != self.recommended:
            other = self.curves[self.recommended]
            low, high = other.interval
            text += (
                f" The recommended curve, a {self.recommended}, has its best ratio at "
                f"{other.optimum:.3g}, {100 * other.confidence:g} % interval {low:.3g} to "
                f"{high:.3g}."
            )
        for each in self.outliers:
            text += (
                f" Row {each.row} (ratio {each.ratio:.3g}, score {each.score:.4g}) is an outlier "
                "and left out."
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
            "ratio": self.ratio,
            "cheapest": self.cheapest,
            "doubts": self.doubts,
            "refused": self.refused,
            "outliers": [asdict(each) for each in self.outliers],
            "minimize": self.minimize,
            "losses": {name: [list(at) for at in curve] for name, curve in self.losses.items()},
            "evidence": list(self.evidence),
            "curves": {name: fit.to_json() for name, fit in self.curves.items()},
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Comparison:
        """The inverse of `to_json`. Raises KeyError where a key is absent that every version has
        written."""
        return cls(
            used=content["curve"],
            recommended=content["recommended"],
            curves={name: Fit.from_json(fit) for name, fit in content["curves"].items()},
            alternatives=content["rivals"],
            lost=tuple(content["lost_ratios"]),
            cheapest=content.get("cheapest"),
            refused=content.get("refused"),
            outliers=tuple(Outlier(**each) for each in content.get("outliers", [])),
            minimize=content.get("minimize", False),
            losses={
                name: tuple((ratio, value) for ratio, value in curve)
                for name, curve in content.get("losses", {}).items()
            },
            evidence=tuple(content.get("evidence", ())),
        )


def compare_curves(
    seen: Observations,
    use: Surrogate = "polynomial",
    degree: int = PAPER_DEGREE,
    coordinate: Coordinate = "ratio",
    seed: int = 0,
    confidence: float = 0.95,
    tolerance: float | None = None,
    outliers: Outliers = "drop",
    minimize: bool = False,
    rows: Callable[[float], float] | None = None,
    evidence: Sequence[Evidence] = (),
) -> Comparison:
    """Fit all curves to one search; the polynomial asked for or the recommended curve is used.

    A polynomial that predicts omitted ratios worse than a constant does is not used: the
    recommended curve is. One that is not used is omitted where the ratios are too few for it.
    The recommended curve needs three ratios, whichever curve is asked for. `minimize`: the
    observations are losses with their sign turned; curves and scores of the result
    have the losses' own. `rows`: of the mix at a ratio, in any unit. `evidence`: what else the
    response may follow; where a Gaussian process with it predicts omitted ratios better than one
    without, it is the recommended curve. Raises InputError where the used curve cannot be fitted.
    """
    kept, left_out = without_outliers(seen) if outliers == "drop" else (seen, [])
    asked = polynomial_name(degree, coordinate)
    wanted = {asked: (degree, coordinate)}
    wanted |= {polynomial_name(PAPER_DEGREE, c): (PAPER_DEGREE, c) for c in COORDINATES}
    curves = {RECOMMENDED: process(kept, seed, confidence, tolerance)}
    for name, (d, c) in wanted.items():
        try:
            curves[name] = polynomial(kept, d, c, seed, confidence, tolerance)
        except InputError:
            if name == asked and use == "polynomial":
                raise
    errors = leave_one_out_errors(kept, degree, coordinate)
    recommended, told = RECOMMENDED, [each for each in evidence if each.is_enough]
    if told:
        curves[INFORMED] = process(kept, seed, confidence, tolerance, told)
        wrong = informed_errors(kept, told) if kept.distinct.size > LEAST else None
        errors[INFORMED] = None if wrong is None else float(np.sqrt(np.mean(wrong**2)))
        if _is_better(errors, INFORMED, RECOMMENDED):
            recommended = INFORMED
    refused = asked if use == "polynomial" and _is_worse(errors, asked) else None
    sign = -1 if minimize else 1
    used = asked if use == "polynomial" and refused is None else recommended
    zone = np.geomspace(*curves[used].regret_zone, _ZONE)
    return Comparison(
        used=used,
        recommended=recommended,
        curves={name: _with_sign(fit, sign) for name, fit in curves.items()},
        alternatives=errors,
        lost=kept.lost,
        cheapest=None if rows is None else float(min(zone, key=rows)),
        refused=refused,
        outliers=tuple(replace(each, score=sign * each.score) for each in left_out),
        minimize=minimize,
        evidence=tuple(each.name for each in told),
    )


def _is_better(errors: Mapping[str, float | None], name: str, other: str) -> bool:
    a, b = errors.get(name), errors.get(other)
    return a is not None and b is not None and a < b


def _is_worse(errors: Mapping[str, float | None], name: str) -> bool:
    """Whether a curve predicts omitted ratios worse than a constant does."""
    error, constant = errors.get(name), errors.get(CONSTANT)
    return error is not None and constant is not None and error > constant


def _with_sign(fit: Fit, sign: int) -> Fit:
    if sign > 0:
        return fit
    turned = tuple(-each for each in fit.coefficients)
    return replace(fit, coefficients=turned, optimum_score=-fit.optimum_score)
