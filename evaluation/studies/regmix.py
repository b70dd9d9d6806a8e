"""pure: rival curves on real mixing data: 512 models of RegMix, their mixtures and losses.

`python -m evaluation.studies.regmix ../shared/data/regmix --out docs/SEARCH.md` writes the page's section
`regmix`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from evaluation.iqa import rmse, srcc
from evaluation.studies.sections import write_section
from qsit_ray import tables
from qsit_ray.errors import InputError
from qsit_ray.surrogate.alternatives import LAW, PROCESS, polynomial_name
from qsit_ray.surrogate.coordinates import COORDINATES, Coordinate, Scale
from qsit_ray.surrogate.gaussian_process import posterior

Floats = NDArray[np.float64]
# Fitted to (mixtures, losses), foretells the losses of other mixtures.
Rival = Callable[[Floats, Floats, Floats], Floats]

SPLITS = 10
HELD_OUT = 0.2


@dataclass(frozen=True)
class Mixing:
    """`weights` of domains, shape (models, domains), each row summing to 1; validation `losses`,
    shape (models, losses)."""

    domains: list[str]
    weights: Floats
    targets: list[str]
    losses: Floats


def read(folder: Path) -> Mixing:
    """Raises InputError naming a file that is absent or whose rows are not those of the other."""
    mixture, loss = (
        tables.read(folder / f"train_{name}_1m.csv") for name in ("mixture", "pile_loss")
    )
    if mixture.labels("index") != loss.labels("index"):
        raise InputError(f"{loss.path}: its rows are not those of {mixture.path.name}")
    weights = np.column_stack([mixture.numbers(n) for n in mixture.names if n != "index"])
    return Mixing(
        domains=[n.removeprefix("train_the_pile_") for n in mixture.names if n != "index"],
        weights=weights / weights.sum(axis=1, keepdims=True),  # printed with three decimals
        targets=[
            n.removeprefix("metric/the_pile_").removesuffix("_val_loss")
            for n in loss.names
            if n != "index"
        ],
        losses=np.column_stack([loss.numbers(n) for n in loss.names if n != "index"]),
    )


def linear(x: Floats, y: Floats, new: Floats) -> Floats:
    """c + w t by least squares; the weights sum to 1, so c is in t."""
    return np.asarray(new @ np.linalg.lstsq(x, y, rcond=None)[0])


def quadratic(x: Floats, y: Floats, new: Floats) -> Floats:
    """Weights and their products, with the ridge that foretells left-out models best."""
    terms, rows = _products(x), _products(new)
    u, s, v = np.linalg.svd(terms, full_matrices=False)
    along = u.T @ y
    best, least = np.zeros(0), np.inf
    for ridge in np.geomspace(1e-6, 1, 25) * s[0] ** 2:
        kept = s**2 / (s**2 + ridge)
        residual = (y - u @ (kept * along)) / (1 - (u**2) @ kept)
        if (error := float(residual @ residual)) < least:
            best, least = v.T @ (kept / s * along), error
    return np.asarray(rows @ best)


def log_linear_law(x: Floats, y: Floats, new: Floats) -> Floats:
    """c + k exp(w t) (Ye et al., Data Mixing Laws, 2024): for each c under the least loss the rest
    is linear in the logarithm; then all of it by least squares from the best of these."""
    from scipy.optimize import least_squares

    least, spread = y.min(), np.ptp(y)
    starts = []
    for c in least - spread * np.geomspace(0.01, 10, 30):
        t = np.linalg.lstsq(x * (y - c)[:, None], np.log(y - c) * (y - c), rcond=None)[0]
        starts.append((float(np.sum((c + np.exp(x @ t) - y) ** 2)), np.append(t, c)))
    start = min(starts, key=lambda pair: pair[0])[1]

    def missed(p: Floats) -> Floats:
        return p[-1] + np.exp(np.minimum(x @ p[:-1], 50)) - y

    def slopes(p: Floats) -> Floats:
        rise = np.exp(np.minimum(x @ p[:-1], 50))
        return np.column_stack([rise[:, None] * x, np.ones(len(x))])

    found = least_squares(missed, start, slopes, max_nfev=200).x
    return np.asarray(found[-1] + np.exp(np.minimum(new @ found[:-1], 50)))


def process(x: Floats, y: Floats, new: Floats) -> Floats:
    """A Gaussian process over the weights' square roots (Matern 5/2, one length), the length and
    the noise of the greatest marginal likelihood."""
    here, there = np.sqrt(x), np.sqrt(new)
    mean, best = y.mean(), (np.inf, np.zeros(0))
    z, n = y - mean, len(y)
    for length in np.geomspace(0.2, 10, 12):
        values, vectors = np.linalg.eigh(_matern(here, here, length))
        along = vectors.T @ z
        for noise in np.geomspace(1e-4, 1, 13):
            inner = np.maximum(values, 0) + noise
            cost = n * np.log(np.sum(along**2 / inner)) + np.sum(np.log(inner))
            if cost < best[0]:
                best = cost, _matern(there, here, length) @ (vectors @ (along / inner))
    return np.asarray(mean + best[1])


MIXTURES: dict[str, Rival] = {
    "linear": linear,
    "quadratic": quadratic,
    "log-linear law": log_linear_law,
    "Gaussian process": process,
}


def share_law(x: Floats, y: Floats, new: Floats) -> Floats:
    """The law of one domain's share, (models, 1), and that of all others together."""
    return log_linear_law(np.hstack([x, 1 - x]), y, np.hstack([new, 1 - new]))


def ratio_process(x: Floats, y: Floats, new: Floats) -> Floats:
    """The process over log-ratio that the searches' fits recommend."""
    here, there = (part[:, 0] / (1 - part[:, 0]) for part in (x, new))
    low, high = float(here.min()), float(here.max())
    return posterior(here, y, low, high).mean_at(np.clip(there, low, high))


def ratio_polynomial(degree: int, coordinate: Coordinate) -> Rival:
    """A polynomial over one domain's ratio to the rest."""

    def rival(x: Floats, y: Floats, new: Floats) -> Floats:
        here, there = (part[:, 0] / (1 - part[:, 0]) for part in (x, new))
        scale = Scale(coordinate, float(here.min()), float(here.max()))
        curve = np.polynomial.Chebyshev.fit(scale.units(here), y, degree, domain=[-1, 1])
        return np.asarray(curve(np.clip(scale.units(there), -1, 1)))

    return rival


RATIOS: dict[str, Rival] = {
    polynomial_name(1, "share"): ratio_polynomial(1, "share"),
    **{polynomial_name(4, c): ratio_polynomial(4, c) for c in COORDINATES},
    LAW: share_law,
    PROCESS: ratio_process,
}


@dataclass(frozen=True)
class Held:
    """How a rival foretold held-out models, one figure a split and loss, shape (splits, losses):
    rank correlation, and root mean square error in units of the loss's standard deviation."""

    srcc: Floats
    error: Floats


def mixtures(data: Mixing, splits: int, seed: int) -> dict[str, Held]:
    """Each of `MIXTURES` for every loss, over the weights of all domains."""
    tasks = [(data.weights, data.losses[:, k]) for k in range(len(data.targets))]
    return {name: _held(rival, tasks, splits, seed) for name, rival in MIXTURES.items()}


def ratios(data: Mixing, splits: int, seed: int) -> dict[str, Held]:
    """Each of `RATIOS` for the loss of every domain that has one, over that domain's ratio to the
    rest; models without the domain, or with nothing else, have no ratio."""
    tasks = []
    for k, target in enumerate(data.targets):
        share = data.weights[:, data.domains.index(target)]
        rows = (share > 0) & (share < 1)
        tasks.append((share[rows, None], data.losses[rows, k]))
    return {name: _held(rival, tasks, splits, seed) for name, rival in RATIOS.items()}


def _held(rival: Rival, tasks: list[tuple[Floats, Floats]], splits: int, seed: int) -> Held:
    found = np.empty((2, splits, len(tasks)))
    for split in range(splits):
        for task, (x, y) in enumerate(tasks):
            order = np.random.default_rng([seed, split]).permutation(len(y))
            held = round(HELD_OUT * len(y))
            test, train = order[:held], order[held:]
            foretold = rival(x[train], y[train], x[test])
            found[:, split, task] = srcc(y[test], foretold), rmse(y[test], foretold) / y[test].std()
    return Held(*found)


def section(
    data: Mixing, on_mixtures: dict[str, Held], on_ratios: dict[str, Held], command: str
) -> str:
    """The page's section: rivals over whole mixtures, and over one domain's ratio to the rest."""
    splits = len(next(iter(on_mixtures.values())).srcc)
    return "\n".join(
        [
            f"RegMix's {len(data.weights)} models of one million parameters, each trained on "
            f"another mixture of {len(data.domains)} domains, with {len(data.targets)} validation "
            f"losses. A rival is fitted to four fifths of the models and foretells the rest, on "
            f"{splits} random splits. *Rank correlation*: Spearman's, of foretold and true losses; "
            "mean over losses and splits, then of the worst loss. *Error*: root mean square, in "
            "standard deviations of the loss; median over losses and splits.",
            "",
            f"`{command}`",
            "",
            "Over whole mixtures:",
            "",
            *_table(on_mixtures, data.targets),
            "",
            "Over the ratio of one domain to all the rest, for that domain's own loss; what the "
            "rest is made of varies from model to model, and is noise here:",
            "",
            *_table(on_ratios, data.targets),
        ]
    )


def _table(found: dict[str, Held], targets: list[str]) -> list[str]:
    lines = [
        "| rival | rank correlation | over splits | of the worst loss | error |",
        "|---|---|---|---|---|",
    ]
    for name, held in found.items():
        by_loss = held.srcc.mean(axis=0)
        worst = int(np.argmin(by_loss))
        lines.append(
            f"| {name} | {held.srcc.mean():.3f} | ± {held.srcc.mean(axis=1).std():.3f} | "
            f"{by_loss[worst]:.3f} ({targets[worst]}) | {np.median(held.error):.2f} |"
        )
    return lines


def main(
    folder: Annotated[Path, typer.Argument(help="RegMix's folder: train_*_1m.csv.")],
    out: Annotated[Path, typer.Option(help="The page whose section `regmix` is written.")],
    splits: Annotated[int, typer.Option(min=1)] = SPLITS,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Write how well each rival foretells real models that it has not seen."""
    command = (
        "python -m evaluation.studies.regmix ../shared/data/regmix --out docs/SEARCH.md "
        f"--splits {splits} --seed {seed}"
    )
    try:
        data = read(folder)
        text = section(data, mixtures(data, splits, seed), ratios(data, splits, seed), command)
        write_section(out, "regmix", text)
    except InputError as error:
        print(f"qsit: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    print(f"{out}: {splits} splits")


def _products(x: Floats) -> Floats:
    first, second = np.triu_indices(x.shape[1])
    return np.column_stack([x, x[:, first] * x[:, second]])


def _matern(a: Floats, b: Floats, length: float) -> Floats:
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    distance = np.sqrt(5 * np.maximum(squares, 0)) / length
    return np.asarray((1 + distance + distance**2 / 3) * np.exp(-distance))


if __name__ == "__main__":
    typer.run(main)
