"""pure: how often a surrogate's interval holds the best ratio, over a family of simulated searches.

`python -m evaluation.studies.surrogate --out docs/SEARCH.md` writes the page's section
`surrogate`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from evaluation.studies.response_curves import HIGH, KINDS, LOW, NOISES, Curve, Kind, family
from evaluation.studies.sections import write_section
from qsit_ray.config.presets import paper
from qsit_ray.errors import InputError
from qsit_ray.surrogate.alternatives import left_out_errors, polynomial_name
from qsit_ray.surrogate.comparison import PAPER_DEGREE, RECOMMENDED
from qsit_ray.surrogate.coordinates import COORDINATES
from qsit_ray.surrogate.curve import Fit, polynomial, process
from qsit_ray.surrogate.observations import Observations, observed

CURVES = 200  # of each kind
POINT = 0.01  # scores are accuracies
LEAST = "least left-out error"
POLYNOMIALS = {polynomial_name(d, c): (d, c) for d in (1, 2, 3, 4) for c in COORDINATES}
QUARTICS = [polynomial_name(PAPER_DEGREE, c) for c in COORDINATES]


@dataclass(frozen=True)
class Outcome:
    """What one surrogate said of one simulated search, and whether it held.

    `covered`: the interval holds a best ratio. `width`: its upper end over its lower. `regret`:
    what is lost at the optimum against the best ratio. `held`: nothing in the regret zone loses
    more than `tolerance`.
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
    """The paper's grid run on curves of one kind: an outcome a curve and surrogate."""
    space = paper().space("interpreting_general")
    ratios = np.repeat(space.ratios, len(space.seeds))
    for number, curve in enumerate(family(kind, curves, seed)):
        chance = np.random.default_rng([seed, KINDS.index(kind), round(1e4 * noise), number])
        for name, fit in _fits(observed(ratios, curve.observed(ratios, noise, chance)), seed):
            yield _outcome(name, curve, noise, fit)


def _fits(seen: Observations, seed: int) -> Iterator[tuple[str, Fit]]:
    fits = {RECOMMENDED: process(seen, seed)}
    fits |= {name: polynomial(seen, *POLYNOMIALS[name], seed) for name in QUARTICS}
    yield from fits.items()
    errors = left_out_errors(seen, PAPER_DEGREE, "ratio")
    least = min([RECOMMENDED, *POLYNOMIALS], key=lambda name: errors[name] or np.inf)
    yield (
        LEAST,
        fits[least] if least in fits else polynomial(seen, *POLYNOMIALS[least], seed),
    )


def _outcome(name: str, curve: Curve, noise: float, fit: Fit) -> Outcome:
    low, high = fit.interval
    zone = np.clip(np.geomspace(*fit.regret_zone, 65), LOW, HIGH)
    return Outcome(
        surrogate=name,
        kind=curve.kind,
        noise=noise,
        covered=curve.covered(low, high),
        width=high / low,
        regret=float(curve.regret(fit.optimum)),
        held=bool(curve.regret(zone).max() <= fit.tolerance),
        tolerance=fit.tolerance,
    )


def section(outcomes: Sequence[Outcome], command: str) -> str:
    """The page's section: one row a surrogate and a noise."""
    curves = len(outcomes) // (len({o.surrogate for o in outcomes}) * len(KINDS) * len(NOISES))
    lines = [
        f"{curves} curves of each kind (`evaluation/studies/response_curves.py`: one smooth peak, a "
        f"plateau, two peaks, an optimum at an edge), each searched at the paper's nineteen ratios "
        "with three repeats and the given noise on every run. *Covered*: the nominal 95 % interval "
        "holds the best ratio; of a plateau, one of its ratios. *Width*: upper end over lower end, "
        "median. *Regret*: what the optimum loses against the best ratio, in points, median and "
        f"95 % quantile. *Zone*: nothing in the regret zone loses more than the tolerance told "
        "with it (its median, in points). The last row of each noise takes, for every search, the "
        "curve that foretells left-out ratios best.",
        "",
        f"`{command}`",
        "",
        f"| noise | surrogate | covered | {' | '.join(KINDS)} | width | regret | zone holds | "
        "tolerance |",
        "|" + "---|" * (len(KINDS) + 7),
    ]
    names = list(dict.fromkeys(o.surrogate for o in outcomes))
    for noise in NOISES:
        for name in names:
            found = [o for o in outcomes if (o.surrogate, o.noise) == (name, noise)]
            title = f"**{name}** (recommended)" if name == RECOMMENDED else name
            lines.append(f"| {noise / POINT:.1f} | {title} | {_row(found)} |")
    return "\n".join(lines)


def _row(found: Sequence[Outcome]) -> str:
    def median(name: str) -> float:
        return float(np.median(_values(found, name)))

    shares = [np.mean(_values([o for o in found if o.kind == kind], "covered")) for kind in KINDS]
    worst = np.quantile(_values(found, "regret"), 0.95)
    cells = [
        f"{np.mean(_values(found, 'covered')):.3f}",
        *(f"{share:.2f}" for share in shares),
        f"{median('width'):.2f}",
        f"{median('regret') / POINT:.3f}, {worst / POINT:.2f}",
        f"{np.mean(_values(found, 'held')):.2f}",
        f"{median('tolerance') / POINT:.2f}",
    ]
    return " | ".join(cells)


def _values(found: Sequence[Outcome], name: str) -> NDArray[np.float64]:
    return np.array([getattr(o, name) for o in found], dtype=np.float64)


def main(
    out: Annotated[Path, typer.Option(help="The page whose section `surrogate` is written.")],
    curves: Annotated[int, typer.Option(min=1, help="Curves of each kind.")] = CURVES,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Write how often each surrogate's interval holds, how wide it is and what it costs."""
    outcomes = [
        o for noise in NOISES for kind in KINDS for o in simulated(kind, noise, curves, seed)
    ]
    command = (
        "python -m evaluation.studies.surrogate --out docs/SEARCH.md "
        f"--curves {curves} --seed {seed}"
    )
    try:
        write_section(out, "surrogate", section(outcomes, command))
    except InputError as error:
        print(f"qsit: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    print(f"{out}: {len(outcomes)} fits")


if __name__ == "__main__":
    typer.run(main)
