"""pure: the recommended curve on responses and noises that it was not tuned on.

Ten families of responses over the paper's interval and eight kinds of noise, apart from those of
`response_curves`, by which the curve was chosen. Writes the section `families` of docs/SEARCH.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qsit_ray.config.presets import paper
from qsit_ray.evaluation.studies.response_curves import HIGH, LOW, POINT, Floats
from qsit_ray.evaluation.studies.sections import (
    Count,
    Page,
    Seed,
    command_line,
    table,
    write_section,
)
from qsit_ray.surrogate.comparison import RECOMMENDED, compare_curves
from qsit_ray.surrogate.observations import observed

CURVES = 40  # of each family and noise
NEAR = 0.05 * POINT
"""A ratio that loses no more is as good as the best."""
_X: Floats = np.linspace(np.log(LOW), np.log(HIGH), 4001)
_SHARE: Floats = 1 / (1 + np.exp(-_X))


def log_ratios() -> Floats:
    """The fine grid over which responses are given."""
    return _X


Response = Callable[[np.random.Generator], Floats]


def _exponential(rng: np.random.Generator) -> Floats:
    """Two losses that fall exponentially with their own share (data mixing laws)."""
    a, b = rng.uniform(1.5, 5, 2)
    return np.asarray(-np.exp(-a * _SHARE) - rng.uniform(0.5, 2) * np.exp(-b * (1 - _SHARE)))


def _kink(rng: np.random.Generator) -> Floats:
    """Two losses that fall as powers of their rows, of which one pool's are fixed on each side of
    ratio 1, as on the axis D2 : D3."""
    rows, others = np.minimum(1, np.exp(_X)), np.minimum(1, np.exp(-_X))
    a, b = rng.uniform(0.1, 0.6, 2)
    return np.asarray(-(rows**-a) - rng.uniform(0.5, 2) * others**-b)


def _cusp(rng: np.random.Generator) -> Floats:
    place = rng.uniform(np.log(0.2), np.log(5))
    left, right = rng.uniform(0.5, 2, 2)
    return np.asarray(-np.where(place > _X, left, right) * np.abs(_X - place))


def _shoulder(rng: np.random.Generator) -> Floats:
    """A steep side, a peak, and a shoulder on the other side."""
    place = rng.uniform(-1.2, -0.2)
    steep, slow = rng.uniform(2, 4), rng.uniform(0.4, 0.8)
    rise = 1 / (1 + np.exp(-steep * (_X - place + 1)))
    found = rise - 0.15 * slow * np.maximum(_X - place, 0) ** 1.5
    return found if rng.random() < 0.5 else found[::-1]


def _saturating(rng: np.random.Generator) -> Floats:
    found = -np.exp(-(_X - _X[0]) / rng.uniform(0.5, 1.5))
    return np.asarray(found if rng.random() < 0.5 else found[::-1])


def _edge(rng: np.random.Generator) -> Floats:
    found = (_X - _X[0]) ** rng.uniform(1, 2)
    return np.asarray(found if rng.random() < 0.5 else found[::-1])


def _narrow_and_broad(rng: np.random.Generator) -> Floats:
    broad, narrow = rng.uniform(-1, 1, 2)
    found = np.exp(-((_X - broad) ** 2) / (2 * rng.uniform(0.8, 1.3) ** 2))
    return np.asarray(found + rng.uniform(0.3, 0.7) * np.exp(-((_X - narrow) ** 2) / (2 * 0.3**2)))


def _collapse(rng: np.random.Generator) -> Floats:
    """A mild peak, and a training that breaks down beyond a ratio."""
    place = rng.uniform(-0.5, 0.5)
    beyond = rng.uniform(1.2, 1.8)
    return -0.15 * (_X - place) ** 2 - 2 / (1 + np.exp(-12 * (_X - beyond)))


def _shallow(rng: np.random.Generator) -> Floats:
    return -((_X - rng.uniform(-1.2, 1.2)) ** 2)


def _quartic(rng: np.random.Generator) -> Floats:
    u = _X / _X[-1]
    peak, valley = rng.uniform(-0.5, 0.5), rng.uniform(0.2, 0.6)
    return np.asarray(-((u - peak) ** 2) * ((u - peak) ** 2 + valley))


FAMILIES: dict[str, Response] = {
    "exponential law": _exponential,
    "power law, kink at 1": _kink,
    "cusp": _cusp,
    "asymmetric shoulder": _shoulder,
    "saturating": _saturating,
    "edge": _edge,
    "narrow + broad": _narrow_and_broad,
    "collapse": _collapse,
    "shallow": _shallow,
    "quartic": _quartic,
}
NOISES = {
    "0.3 points": 0.003,
    "0.6 points": 0.006,
    "1.0 points": 0.010,
    "0.6, Student t of 3": 0.006,
    "0.2 to 1.0 along the axis": 0.006,
    "0.6, outliers": 0.006,
    "0.6, missing": 0.006,
    "0.6, 0.2 a ratio": 0.006,
}


def response(name: str, rng: np.random.Generator) -> Floats:
    """A response of a family over the fine grid of log-ratio, 2 to 5 points high; the shallow ones
    0.2 to 0.5, the collapsing ones 20."""
    found = FAMILIES[name](rng)
    height = rng.uniform(0.02, 0.05) * {"shallow": 0.1, "collapse": 6}.get(name, 1)
    return np.asarray(0.7 + height * (found - found.max()) / np.ptp(found))


def scores(truth: Floats, ratios: Floats, noise: str, rng: np.random.Generator) -> list[float]:
    """A run's score at each ratio; NaN where it is missing."""
    sd, size = NOISES[noise], ratios.size
    exact = np.interp(np.log(ratios), _X, truth)
    if "Student" in noise:
        return list(exact + sd / np.sqrt(3) * rng.standard_t(3, size))
    if "along" in noise:
        where = (np.log(ratios) - _X[0]) / (_X[-1] - _X[0])
        return list(exact + (0.002 + 0.008 * where) * rng.standard_normal(size))
    found = exact + sd * rng.standard_normal(size)
    if "outliers" in noise:
        found[rng.choice(size, 2, replace=False)] -= rng.uniform(0.1, 0.7, 2)
    if "missing" in noise:
        found[rng.random(size) < 0.15] = np.nan
    if "a ratio" in noise:
        names, group = np.unique(ratios, return_inverse=True)
        found += 0.002 * rng.standard_normal(names.size)[group]
    return list(found)


@dataclass(frozen=True)
class Outcome:
    """What a curve said of a search, checked against the true response.

    `near`: its interval has a ratio that loses at most `NEAR`. `held`: no ratio of its regret zone
    loses more than its tolerance. `regret`: of its optimum.
    """

    family: str
    noise: str
    curve: str
    near: bool
    held: bool
    regret: float


def simulated(family: str, noise: str, curves: int = CURVES, seed: int = 0) -> Iterator[Outcome]:
    """The paper's grid on responses of one family: the answer and the paper's quartic."""
    space = paper().space("interpreting_general")
    ratios = np.repeat(space.ratios, len(space.seeds))
    key = [seed, [*FAMILIES].index(family), [*NOISES].index(noise)]
    for number in range(curves):
        rng = np.random.default_rng([*key, number])
        truth = response(family, rng)
        found = compare_curves(observed(ratios, scores(truth, ratios, noise, rng)), seed=seed)
        regret = truth.max() - truth
        for name in (RECOMMENDED, PAPER):
            fit = found.curves[name]
            inside, zone = (
                (np.log(low) - 1e-9 <= _X) & (np.log(high) + 1e-9 >= _X)
                for low, high in (fit.interval, fit.regret_zone)
            )
            at = np.interp(np.log(fit.optimum), _X, regret)
            yield Outcome(
                family=family,
                noise=noise,
                curve=name,
                near=bool(min(regret[inside].min(initial=np.inf), at) <= NEAR),
                held=bool(max(regret[zone].max(initial=0.0), at) <= fit.tolerance),
                regret=float(at),
            )


PAPER = "quartic over ratio"


def families_table(outcomes: Sequence[Outcome]) -> str:
    """A row for each family, and one for each noise over all families."""
    rows = [
        _cells(name, [o for o in outcomes if getattr(o, kind) == name])
        for kind, names in (("family", FAMILIES), ("noise", NOISES))
        for name in names
    ]
    columns = ["response or noise"]
    for name in ("recommended", "paper's quartic"):
        columns += [f"{name}: near", "zone holds", "regret"]
    return table(columns, rows)


def _cells(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    cells = [name]
    for curve in (RECOMMENDED, PAPER):
        found = [o for o in outcomes if o.curve == curve]
        regrets = np.array([o.regret for o in found]) / POINT
        cells += [
            f"{np.mean([o.near for o in found]):.2f}",
            f"{np.mean([o.held for o in found]):.2f}",
            f"{np.median(regrets):.2f}, {np.quantile(regrets, 0.95):.2f}",
        ]
    return cells


def write(out: Page, curves: Count = CURVES, seed: Seed = 0) -> None:
    """The recommended curve on responses and noises that it was not tuned on."""
    outcomes = [o for f in FAMILIES for n in NOISES for o in simulated(f, n, curves, seed)]
    command = command_line("families", curves=curves, seed=seed)
    write_section(out, "families", command, families_table(outcomes))
