"""pure: alternative curves on real mixing data: 512 models of RegMix, their mixtures and losses.

Writes the section `regmix` of docs/SEARCH.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from qsit_ray import tables
from qsit_ray.errors import InputError
from qsit_ray.evaluation.correlation import rmse, srcc
from qsit_ray.evaluation.studies.sections import (
    Count,
    Page,
    Seed,
    command_line,
    table,
    write_section,
)
from qsit_ray.surrogate.alternatives import LAW, PROCESS, polynomial_name
from qsit_ray.surrogate.coordinates import COORDINATES, Coordinate, Scale
from qsit_ray.surrogate.gaussian_process import posterior

Floats = NDArray[np.float64]
# Fitted to (mixtures, losses), predicts the losses of other mixtures.
Alternative = Callable[[Floats, Floats, Floats], Floats]

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
    mixture = tables.read(folder / "train_mixture_1m.csv")
    loss = tables.read(folder / "train_pile_loss_1m.csv")
    if mixture.labels("index") != loss.labels("index"):
        raise InputError(f"{loss.path}: its rows are not those of {mixture.path.name}")
    domains = [name for name in mixture.names if name != "index"]
    targets = [name for name in loss.names if name != "index"]
    weights = np.column_stack([mixture.numbers(name) for name in domains])
    return Mixing(
        domains=[name.removeprefix("train_the_pile_") for name in domains],
        weights=weights / weights.sum(axis=1, keepdims=True),  # the file has three decimals
        targets=[n.removeprefix("metric/the_pile_").removesuffix("_val_loss") for n in targets],
        losses=np.column_stack([loss.numbers(name) for name in targets]),
    )


def linear(x: Floats, y: Floats, new: Floats) -> Floats:
    """c + w t by least squares; the weights sum to 1, so c is in t."""
    return np.asarray(new @ np.linalg.lstsq(x, y, rcond=None)[0])


def quadratic(x: Floats, y: Floats, new: Floats) -> Floats:
    """Weights and their products, with the ridge of the least leave-one-out error."""
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
    """c + k exp(w t) (Ye et al., Data Mixing Laws, 2024): for each c below the least loss the rest
    is linear in the logarithm; the best of these starts a least-squares fit of all parameters."""
    from scipy.optimize import least_squares

    least, spread = y.min(), np.ptp(y)
    starts = []
    for c in least - spread * np.geomspace(0.01, 10, 30):
        t = np.linalg.lstsq(x * (y - c)[:, None], np.log(y - c) * (y - c), rcond=None)[0]
        starts.append((float(np.sum((c + np.exp(x @ t) - y) ** 2)), np.append(t, c)))
    start = min(starts, key=lambda pair: pair[0])[1]

    def rise(p: Floats, at: Floats) -> Floats:
        return np.asarray(np.exp(np.minimum(at @ p[:-1], 50)))

    def slopes(p: Floats) -> Floats:
        return np.column_stack([rise(p, x)[:, None] * x, np.ones(len(x))])

    def residuals(p: Floats) -> Floats:
        return np.asarray(p[-1] + rise(p, x) - y)

    found = least_squares(residuals, start, slopes, max_nfev=200).x
    return np.asarray(found[-1] + rise(found, new))


def process(x: Floats, y: Floats, new: Floats) -> Floats:
    """A Gaussian process over the weights' square roots (Matern 5/2, one length), with length and
    noise of the greatest marginal likelihood."""
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


MIXTURES: dict[str, Alternative] = {
    "linear": linear,
    "quadratic": quadratic,
    "log-linear law": log_linear_law,
    "Gaussian process": process,
}


def share_law(x: Floats, y: Floats, new: Floats) -> Floats:
    """The law of one domain's share, (models, 1), and that of all others together."""
    return log_linear_law(np.hstack([x, 1 - x]), y, np.hstack([new, 1 - new]))


def ratio_process(x: Floats, y: Floats, new: Floats) -> Floats:
    """The recommended surrogate of searches, a process over log-ratio."""
    here, there = _ratios(x), _ratios(new)
    low, high = float(here.min()), float(here.max())
    return posterior(here, y, low, high).mean_at(np.clip(there, low, high))


def ratio_polynomial(degree: int, coordinate: Coordinate) -> Alternative:
    """A polynomial over one domain's ratio to the rest."""

    def predict(x: Floats, y: Floats, new: Floats) -> Floats:
        here = _ratios(x)
        scale = Scale(coordinate, float(here.min()), float(here.max()))
        curve = np.polynomial.Chebyshev.fit(scale.units(here), y, degree, domain=[-1, 1])
        return np.asarray(curve(np.clip(scale.units(_ratios(new)), -1, 1)))

    return predict


def _ratios(share: Floats) -> Floats:
    return share[:, 0] / (1 - share[:, 0])


RATIOS: dict[str, Alternative] = {
    polynomial_name(1, "share"): ratio_polynomial(1, "share"),
    **{polynomial_name(4, c): ratio_polynomial(4, c) for c in COORDINATES},
    LAW: share_law,
    PROCESS: ratio_process,
}


@dataclass(frozen=True)
class HeldOut:
    """An alternative's predictions of held-out models, by split and loss, shape (splits, losses):
    rank correlation, and root mean square error in units of the loss's standard deviation."""

    srcc: Floats
    error: Floats


def mixtures(data: Mixing, splits: int, seed: int) -> dict[str, HeldOut]:
    """Each of `MIXTURES` for every loss, over the weights of all domains."""
    tasks = [(data.weights, data.losses[:, k]) for k in range(len(data.targets))]
    return {name: _held_out(curve, tasks, splits, seed) for name, curve in MIXTURES.items()}


def ratios(data: Mixing, splits: int, seed: int) -> dict[str, HeldOut]:
    """Each of `RATIOS` for the loss of every domain that has one, over that domain's ratio to the
    rest; models without the domain, or with nothing else, have no ratio."""
    tasks = []
    for k, target in enumerate(data.targets):
        share = data.weights[:, data.domains.index(target)]
        rows = (share > 0) & (share < 1)
        tasks.append((share[rows, None], data.losses[rows, k]))
    return {name: _held_out(curve, tasks, splits, seed) for name, curve in RATIOS.items()}


def _held_out(
    predict: Alternative, tasks: list[tuple[Floats, Floats]], splits: int, seed: int
) -> HeldOut:
    found = np.empty((2, splits, len(tasks)))
    for split in range(splits):
        for task, (x, y) in enumerate(tasks):
            order = np.random.default_rng([seed, split]).permutation(len(y))
            held = round(HELD_OUT * len(y))
            test, train = order[:held], order[held:]
            guess = predict(x[train], y[train], x[test])
            found[:, split, task] = srcc(y[test], guess), rmse(y[test], guess) / y[test].std()
    return HeldOut(*found)


def errors_table(found: dict[str, HeldOut], targets: list[str]) -> str:
    """One row per alternative."""
    rows = []
    for name, held in found.items():
        by_loss = held.srcc.mean(axis=0)
        worst = int(np.argmin(by_loss))
        spread = f"± {held.srcc.mean(axis=1).std():.3f}"
        of_worst = f"{by_loss[worst]:.3f} ({targets[worst]})"
        rows.append(
            [name, f"{held.srcc.mean():.3f}", spread, of_worst, f"{np.median(held.error):.2f}"]
        )
    columns = ["alternative", "rank correlation", "over splits", "of the worst loss", "error"]
    return table(columns, rows)


def _products(x: Floats) -> Floats:
    first, second = np.triu_indices(x.shape[1])
    return np.column_stack([x, x[:, first] * x[:, second]])


def _matern(a: Floats, b: Floats, length: float) -> Floats:
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    distance = np.sqrt(5 * np.maximum(squares, 0)) / length
    return np.asarray((1 + distance + distance**2 / 3) * np.exp(-distance))


def write(
    folder: Annotated[Path, typer.Argument(help="RegMix's folder: train_*_1m.csv.")],
    out: Page,
    splits: Count = SPLITS,
    seed: Seed = 0,
) -> None:
    """Errors of alternative curves on real models that they are not fitted to."""
    data = read(folder)
    study = "regmix ../shared/data/regmix"
    write_section(
        *(out, "regmix", command_line(study, splits=splits, seed=seed)),
        *("Over whole mixtures:", errors_table(mixtures(data, splits, seed), data.targets)),
        "Over the ratio of one domain to all the rest, for that domain's own loss:",
        errors_table(ratios(data, splits, seed), data.targets),
    )
