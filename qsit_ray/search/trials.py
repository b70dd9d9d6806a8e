"""pure: the trials of a search: their task, their outcomes, and the table of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.controller import Reference
from qsit_ray.errors import InputError
from qsit_ray.losses import LOSS, ROWS, Losses, apart, flat, keyed, unkeyed
from qsit_ray.mixture import DOMAINS, Axis, Mixture, mixture_on_axis
from qsit_ray.step_lines import StepLine

Point = tuple[float, int]  # ratio and seed of a trial
Answers = Literal["accuracy", "probability"]

_F, _I, _S = pa.float64(), pa.int64(), pa.string()


@dataclass(frozen=True)
class Task:
    """The settings that all trials of one search share.

    Trials write to `folder`. `mixture_at` gives the rows at a ratio. `optimum` is the peak of a
    rehearsal's planted curve, by default the trial's own ratio.
    """

    run: RunFolder
    config: Config
    folder: Path
    mixture_at: Callable[[float], Mixture]
    objective: str
    answers: Answers = "accuracy"
    optimum: float | None = None
    keep_models: bool = False

    @property
    def search(self) -> str:
        """The name of the search: an axis, its scouts, `final_proxies` or `merge_check`."""
        name = self.folder.name
        if name == "scouts":
            return f"{self.folder.parent.name} scouts"
        return "final_proxies" if name == "proxy" else name

    def longest(self, ratio: float) -> int:
        """Optimiser steps of a trial at `ratio` at the most."""
        return self.config.search.longest(self.mixture_at(ratio).total)


@dataclass(frozen=True)
class Look:
    """Validation losses of a trial after `epochs` of its mixture, in nats per answer token."""

    epochs: float
    losses: Losses


@dataclass(frozen=True)
class TrialMetrics:
    """Validation results of a trial's best weights, those after `best_step`; `looks` are all of its
    evaluations.

    Losses are in nats per answer token. `probability` is the mean probability of the right answer
    to a validation question among its candidates, `accuracy` the share of questions where it is the
    likeliest; both are None where there are no questions. `srcc` and `plcc` are None where the
    proxy gives every image the same score, or there are none. `plan_sha256` is that of the first
    epoch's plan.
    """

    losses: Losses
    accuracy: float | None
    probability: float | None
    srcc: float | None
    plcc: float | None
    steps: int
    best_step: int
    stopped: Literal["plateau", "max_steps"]
    plan_sha256: str
    looks: tuple[Look, ...] = ()


@dataclass(frozen=True)
class Latest:
    """Where a training stands after an evaluation: optimiser steps, rows trained, each use counted,
    and validation losses in nats per answer token."""

    steps: int
    rows: int
    losses: Losses


class Training(Protocol):
    """A proxy training as a trial drives it; after `load` it resumes exactly where it was saved."""

    mixture: Mixture
    lines: list[StepLine]

    def advance(self) -> bool:
        """Train up to the next evaluation; True when the training has ended."""

    def latest(self) -> Latest: ...

    def result(self) -> TrialMetrics: ...

    def snapshot(self) -> Callable[[Path], None]:
        """Writes the state as it is now into a folder, also while training goes on where its
        device is a GPU."""

    def load(self, folder: Path) -> None: ...


@dataclass(frozen=True)
class TrialOutcome:
    """One row of trials.parquet (docs/RUN_FOLDER.md); `score` is the search's objective, and the
    `looks` are in the trial's own file only. Files have the mixture and the losses by pool, as
    `rows_scoring` and `loss_scoring`.

    A `failed` trial has no metrics, but a reason. A `waiting` one, not yet in any table, has its
    ratio and seed only.
    """

    ratio: float
    seed: int
    mixture: Mixture | None = None
    score: float | None = None
    losses: Losses | None = None
    accuracy: float | None = None
    probability: float | None = None
    srcc: float | None = None
    plcc: float | None = None
    steps: int | None = None
    best_step: int | None = None
    stopped: Literal["plateau", "max_steps"] | None = None
    plan_sha256: str | None = None
    device_seconds: float | None = None
    status: Literal["completed", "failed", "waiting"] = "completed"
    reason: str | None = None
    looks: tuple[Look, ...] = ()

    @property
    def point(self) -> Point:
        return self.ratio, self.seed

    def value(self, column: str) -> float | None:
        """The number of a column of the table: `score`, `accuracy`, `loss_<task>` and so on."""
        if column.startswith(LOSS):
            return (self.losses or {}).get(column.removeprefix(LOSS))
        value: float | None = getattr(self, column)
        return value

    def to_json(self) -> dict[str, object]:
        """The content of a completed trial's file; `status` and `reason` are in the table only."""
        content = self.to_row()
        del content["status"], content["reason"]
        return {**content, "looks": [flat(asdict(look)) for look in self.looks]}

    def to_row(self) -> dict[str, object]:
        """The row of the table."""
        row: dict[str, object] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "mixture":
                row |= keyed(value or {}, ROWS)
            elif field.name == "losses":
                row |= keyed(value or {})
            elif field.name != "looks":
                row[field.name] = value
        return row

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TrialOutcome:
        """The outcome in a trial's file, a row of the table or a result of Tune, which has more
        keys. Raises TypeError where ratio or seed is missing."""
        losses, others = apart(content)
        rows = {
            key.removeprefix(ROWS): value for key, value in others.items() if key.startswith(ROWS)
        }
        known = {f.name: others[f.name] for f in fields(cls) if f.name in others}
        parts = {
            "mixture": Mixture(rows) if rows and None not in rows.values() else None,
            "losses": losses if losses and None not in losses.values() else None,
            "looks": tuple(Look(**unkeyed(look)) for look in known.get("looks", ())),
        }
        return cls(**{**known, **parts})


def mixture_at(
    axis: Axis,
    ratio: float,
    sizes: Mapping[str, int],
    optima: Mapping[str, float],
    max_repeats: int,
) -> Mixture:
    """The mixture of one ratio, at the `optima` of the axes before.

    Raises InputError naming the axis, also for a mixture that uses rows more than `max_repeats`
    times an epoch.
    """
    try:
        mixture = mixture_on_axis(axis, ratio, sizes, optima)
    except ValueError as error:
        raise InputError(f"search {axis.name}: {error}") from None
    for domain, rows in mixture.items():
        if rows > max_repeats * sizes[domain]:
            raise InputError(
                f"search {axis.name}: ratio {ratio:g} asks for {rows} rows of {domain}, which has "
                f"{sizes[domain]}; search.max_repeats allows {max_repeats} uses of each"
            )
    return mixture


def watched_loss(mixture: Mixture, losses: Losses) -> float:
    """The loss that decides the plateau and the best weights: the mean over the tasks whose pools
    the mixture trains, or over both where it trains neither."""
    watched = [loss for task, loss in losses.items() if mixture.get(task)]
    watched = watched or [*losses.values()]
    return sum(watched) / len(watched)


def loss_score(objective: str, losses: Losses) -> float | None:
    """The score where losses alone decide it; None for other objectives.

    `loss_interpreting`: -log L_I, and so for each task; `losses`: the mean of -log L_S and
    -log L_I, so that neither's unit weighs more.
    """
    if objective == "losses":
        return -sum(math.log(loss) for loss in losses.values()) / len(losses)
    if objective.startswith(LOSS):
        return -math.log(losses[objective.removeprefix(LOSS)])
    return None


def score_of(objective: str, answers: Answers, metrics: TrialMetrics) -> float | None:
    """The score of a trial, higher is better; None where a correlation is undefined.

    `interpreting`: accuracy on validation questions (paper IV-B). `both`: mean of that accuracy
    and (SRCC + PLCC) / 2 on validation images (paper III-C). With `answers` "probability" the mean
    probability of the right answer replaces the accuracy. Others are those of `loss_score`.
    """
    by_losses = loss_score(objective, metrics.losses)
    if by_losses is not None:
        return by_losses
    answering = metrics.accuracy if answers == "accuracy" else metrics.probability
    if objective == "interpreting":
        return answering
    if answering is None or metrics.srcc is None or metrics.plcc is None:
        return None
    return (answering + (metrics.srcc + metrics.plcc) / 2) / 2


def reference_loss_ratio(rows: Sequence[TrialOutcome]) -> tuple[float, float | None]:
    """λ = mean L_S / mean L_I over trials that completed (Eq. 8), each at its best, and the
    standard error of it, None for one trial."""
    return _loss_ratio([row.losses for row in rows if row.losses is not None])


def reference_curve(rows: Sequence[TrialOutcome]) -> list[Reference]:
    """The loss ratio at each evaluation of the trials, which train one mixture, as λ is made. A
    trial that ended before counts with its last evaluation."""
    curve = []
    for epochs in sorted({look.epochs for row in rows for look in row.looks}):
        so_far = [[look for look in row.looks if look.epochs <= epochs] for row in rows]
        last = [looks[-1] for looks in so_far if looks]
        curve.append(Reference(epochs, *_loss_ratio([look.losses for look in last])))
    return curve


def reference_at_end(rows: Sequence[TrialOutcome]) -> Reference:
    """The loss ratio at the last evaluation of each trial, and their mean number of epochs."""
    last = [row.looks[-1] for row in rows]
    losses = [look.losses for look in last]
    return Reference(sum(look.epochs for look in last) / len(last), *_loss_ratio(losses))


def _loss_ratio(losses: Sequence[Losses]) -> tuple[float, float | None]:
    """The ratio of the mean losses, and its standard error: that of the mean of L_S - ratio · L_I
    over the mean of L_I, in which errors that the two losses share cancel."""
    first, second = np.array([[*each.values()] for each in losses], np.float64).T
    ratio = first.mean() / second.mean()
    if len(losses) < 2:
        return float(ratio), None
    spread = first - ratio * second
    error = spread.std(ddof=1) / math.sqrt(len(losses)) / second.mean()
    return float(ratio), float(error)


def columns(pools: Sequence[str], tasks: Sequence[str]) -> pa.Schema:
    """The columns of trials.parquet of a run with these pools and tasks."""
    return pa.schema([
        ("ratio", _F), ("seed", _I), *((ROWS + pool, _I) for pool in pools), ("score", _F),
        *((LOSS + task, _F) for task in tasks), ("accuracy", _F), ("probability", _F),
        ("srcc", _F), ("plcc", _F), ("steps", _I), ("best_step", _I), ("stopped", _S),
        ("device_seconds", _F), ("plan_sha256", _S), ("status", _S), ("reason", _S),
    ])  # fmt: skip


def write_trials(
    path: Path,
    rows: Sequence[TrialOutcome],
    pools: Sequence[str] = DOMAINS,
    tasks: Sequence[str] = DOMAINS[:2],
) -> None:
    """Write one row a trial to `path` and to a .csv of the same name."""
    table = pa.Table.from_pylist([row.to_row() for row in rows], schema=columns(pools, tasks))
    with artifacts.atomic(path) as temporary:
        pq.write_table(table, temporary)
    with artifacts.atomic(path.with_suffix(".csv")) as temporary:
        table.to_pandas().to_csv(temporary, index=False)


def read_trials(path: Path) -> list[TrialOutcome]:
    """Raises InputError naming a file that can't be read."""
    try:
        return [TrialOutcome.from_json(row) for row in pq.read_table(path).to_pylist()]
    except (OSError, pa.ArrowInvalid, TypeError) as error:
        raise InputError(f"{path}: can't read the trials: {error}") from None
