"""pure: what a fit says, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qsit_ray.surrogate.observations import Observations

if TYPE_CHECKING:
    from qsit_ray.surrogate.curve import Fit

_SHOWN = 5


def told(fitted: Fit, seen: Observations) -> str:
    """One or two plain sentences on the optimum, and where runs have no score, on those."""
    return " ".join(filter(None, [_optimum(fitted), missing(seen)]))


def missing(seen: Observations) -> str:
    """What scores are missing, and what that leaves; empty where none is."""
    if not seen.dropped:
        return ""
    total = seen.dropped + seen.scores.size
    text = f"Degraded: {seen.dropped} of {total} rows have no score and were left out"
    if seen.lost:
        text += f"; no run is left at ratio {_listed([f'{r:g}' for r in seen.lost])}"
        if min(seen.lost) < seen.low or max(seen.lost) > seen.high:
            text += f", so the search spans {seen.low:g} to {seen.high:g} only"
    left = {r: int(np.count_nonzero(seen.ratios == r)) for r in sorted(seen.missing)}
    fewer = [f"{n} of {n + seen.missing[r]} at ratio {r:g}" for r, n in left.items() if n]
    return text + (f"; fewer repeats: {_listed(fewer)}." if fewer else ".")


def _optimum(f: Fit) -> str:
    sure = f"with {100 * f.confidence:g} %"
    if f.noise is None:
        return (
            f"The curve peaks at ratio {f.optimum:.3g}, but has as many coefficients as there are "
            "runs, so nothing shows the noise: repeat runs or add ratios before trusting it."
        )
    if f.flat:
        return (
            f"The response is flat: from ratio {f.low:.3g} to {f.high:.3g} no effect stands out "
            f"from the noise of {f.noise:.2g} a run, so {f.optimum:.3g} is no better than another."
        )
    lower, upper = f.interval
    if f.optimum in (f.low, f.high):
        text = f"The best ratio is {f.optimum:.3g}, an end of the search: look beyond it"
        if lower < upper:
            text += f" ({sure} from {lower:.3g} to {upper:.3g})"
    else:
        text = f"The best ratio is {f.optimum:.3g}, {sure} from {lower:.3g} to {upper:.3g}"
        if f.edge_probability and f.edge_probability >= 0.05:
            text += f" ({100 * f.edge_probability:.0f} % that it is an end of the search)"
    return (
        f"{text}; any ratio from {f.regret_zone[0]:.3g} to {f.regret_zone[1]:.3g} "
        f"is within {f.tolerance:.2g} of the best score {sure}."
    )


def _listed(items: list[str]) -> str:
    return ", ".join(items[:_SHOWN]) + (", …" if len(items) > _SHOWN else "")
