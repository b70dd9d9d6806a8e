"""pure: coverage, width and regret of surrogates' intervals over a family of simulated searches.

Writes the section `surrogate` of docs/SEARCH.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qsit_ray.config.presets import paper
from qsit_ray.evaluation.studies.response_curves import (
    HIGH,
    KINDS,
    LOW,
    NOISES,
    POINT,
    Kind,
    family,
)
from qsit_ray.evaluation.studies.sections import (
    Count,
    Page,
    Seed,
    command_line,
    table,
    write_section,
)
from qsit_ray.surrogate.alternatives import leave_one_out_errors, polynomial_name
from qsit_ray.surrogate.comparison import PAPER_DEGREE, RECOMMENDED
from qsit_ray.surrogate.coordinates import COORDINATES
from qsit_ray.surrogate.curve import polynomial, process
from qsit_ray.surrogate.observations import observed

CURVES = 200  # of each kind
TOLERANCE = 0.1 * POINT
LEAST = "least leave-one-out error"
POLYNOMIALS = {polynomial_name(d, c): (d, c) for d in (1, 2, 3, 4) for c in COORDINATES}
QUARTICS = [polynomial_name(PAPER_DEGREE, c) for c in COORDINATES]


@dataclass(frozen=True)
class Outcome:
    """One surrogate's statements about one simulated search, checked against its true curve.

    `covered`: the interval has a best ratio in it. `width`: its upper end over its lower. `regret`:
    of the optimum, against the best ratio. `held`: no ratio in the regret zone loses more than
    `tolerance`.
    """

    surrogate: str
    kind: Kind
    noise: float
    covered: bool
    width: float
    regret: float
    held: bool
    tolerance: float


def simulated(kind: Kind, noise: float, curves: int = CURVES, seed: int = 0) -> Iterator[Outcome]:
    """The paper's grid on curves of one kind: an outcome for each curve and surrogate."""
    space = paper().space("interpreting_general")
    ratios = np.repeat(space.ratios, len(space.seeds))
    for number, curve in enumerate(family(kind, curves, seed)):
        chance = np.random.default_rng([seed, KINDS.index(kind), round(1e4 * noise), number])
        seen = observed(ratios, curve.observed(ratios, noise, chance))
        asked: dict[str, Any] = {"seed": seed, "tolerance": TOLERANCE}
        fits = {RECOMMENDED: process(seen, **asked)}
        fits |= {name: polynomial(seen, *POLYNOMIALS[name], **asked) for name in QUARTICS}
        errors = leave_one_out_errors(seen, PAPER_DEGREE, "ratio")
        least = min([RECOMMENDED, *POLYNOMIALS], key=lambda name: errors[name] or np.inf)
        fits[LEAST] = fits.get(least) or polynomial(seen, *POLYNOMIALS[least], **asked)
        for name, fit in fits.items():
            low, high = fit.interval
            zone = np.clip(np.geomspace(*fit.regret_zone, 65), LOW, HIGH)
            yield Outcome(
                surrogate=name,
                kind=kind,
                noise=noise,
                covered=curve.covered(low, high),
                width=high / low,
                regret=float(curve.regret(fit.optimum)),
                held=bool(curve.regret(zone).max() <= fit.tolerance),
                tolerance=fit.tolerance,
            )


def coverage_table(outcomes: Sequence[Outcome]) -> str:
    """One row per noise and surrogate."""
    names = dict.fromkeys(o.surrogate for o in outcomes)
    rows = [
        _cells([o for o in outcomes if (o.surrogate, o.noise) == (name, noise)])
        for noise in NOISES
        for name in names
    ]
    columns = ["noise", "surrogate", "covered", *KINDS, "width", "regret", "zone holds"]
    return table([*columns, "tolerance"], rows)


def _cells(found: Sequence[Outcome]) -> list[str]:
    name = found[0].surrogate
    covered = [np.mean([o.covered for o in found if o.kind == kind]) for kind in KINDS]
    regrets = [o.regret for o in found]
    return [
        f"{found[0].noise / POINT:.1f}",
        f"**{name}** (recommended)" if name == RECOMMENDED else name,
        f"{np.mean([o.covered for o in found]):.3f}",
        *(f"{share:.2f}" for share in covered),
        f"{np.median([o.width for o in found]):.2f}",
        f"{np.median(regrets) / POINT:.3f}, {np.quantile(regrets, 0.95) / POINT:.2f}",
        f"{np.mean([o.held for o in found]):.2f}",
        f"{np.median([o.tolerance for o in found]) / POINT:.2f}",
    ]


def write(out: Page, curves: Count = CURVES, seed: Seed = 0) -> None:
    """Coverage, width and regret of the surrogates' intervals."""
    outcomes = [
        o for noise in NOISES for kind in KINDS for o in simulated(kind, noise, curves, seed)
    ]
    command = command_line("surrogate", curves=curves, seed=seed)
    write_section(out, "surrogate", command, coverage_table(outcomes))
