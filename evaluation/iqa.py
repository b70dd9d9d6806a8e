"""pure: image quality assessment: SRCC, PLCC, KRCC, RMSE with intervals (Tables II and IV).

Intervals are percentile bootstrap intervals over rows, or over clusters of rows where cluster ids
are given: the crops of one photograph are not independent. Beyond 20,000 rows (2,000 for KRCC,
which costs most) each of the resamples draws only 5,000 (2,000) rows, and its distance from
the full value is scaled by the root of the share drawn: the m-out-of-n bootstrap, valid for
statistics whose error shrinks with the root of the rows. So a million rows take seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsit_ray.errors import InputError
from qsit_ray.evaluation import correlation
from qsit_ray.evaluation.intervals import (
    DEFAULT,
    Bootstrap,
    Difference,
    Floats,
    Interval,
    cluster_numbers,
    resampled_clusters,
)

METRICS = ("srcc", "plcc", "plcc_logistic", "krcc", "rmse", "rmse_logistic")
COLUMNS = ("truth", "prediction", "rank_on")
RANKED = ("srcc", "krcc")
LINEAR = ("plcc", "plcc_logistic", "rmse_logistic")
RESAMPLES = 1000
FULL_ROWS, DRAWN_ROWS = 20_000, 5_000
KRCC_ROWS, KRCC_RESAMPLES = 2_000, 400
# Up to this many clusters, every resample draws as many as there are, however many rows they hold.
FEW_CLUSTERS = 100


@dataclass(frozen=True)
class IqaResult:
    """Agreement of predictions with MOS; None where a figure is undefined.

    `srcc` has average ranks for ties, `krcc` is tau-b, `rmse` is on the raw prediction. The
    prediction is mapped by `logistic_mapping` for `*_logistic`. `average`: (srcc + plcc) / 2.
    `intervals`: by metric, with the mapping held fixed. `reasons`: by metric, why it is undefined.
    """

    rows: int
    srcc: float | None
    plcc: float | None
    plcc_logistic: float | None
    krcc: float | None
    rmse: float | None
    rmse_logistic: float | None
    average: float | None
    intervals: dict[str, Interval | None]
    confidence: float
    reasons: dict[str, str]

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> IqaResult:
        """The inverse of `to_json`."""
        ends = content["intervals"].items()
        intervals = {name: None if pair is None else (pair[0], pair[1]) for name, pair in ends}
        return replace(cls(**content), intervals=intervals)


@dataclass(frozen=True)
class CorrelationDifference(Difference):
    """SRCC or PLCC; `p_williams` is of Williams' test and None below 4 rows."""

    p_williams: float | None = None


@dataclass(frozen=True)
class TableIvRow:
    """A model on one test dataset, or its mean over those of a setting (dataset None)."""

    model: str
    dataset: str | None
    setting: str
    srcc: float | None
    plcc: float | None
    average: float | None


@dataclass(frozen=True)
class _Measured:
    """The metrics that have a value, their bootstrap values, shape (resamples,), and the reasons
    why others have none."""

    values: dict[str, float]
    resampled: dict[str, Floats]
    reasons: dict[str, str]


def score_predictions(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    rank_on: ArrayLike | None = None,
    cluster: Sequence[Any] | ArrayLike | None = None,
    bootstrap: Bootstrap = DEFAULT,
) -> IqaResult:
    """Agreement of predictions with MOS. All inputs have shape (rows,).

    SRCC and KRCC rank by `rank_on`, by default the prediction: give the logit margin for a
    two-level score, which saturates and ties. The bootstrap draws the groups of `cluster`, by
    default rows. Raises InputError for lengths that differ and, with the rows, for values that are
    missing or not finite.
    """
    table = _table(truth, prediction, rank_on)
    rows = table.shape[1]
    found = _measure(table, cluster_numbers(cluster, rows), bootstrap.seed)
    values = {name: found.values.get(name) for name in METRICS}
    both = None not in (values["srcc"], values["plcc"])
    return IqaResult(
        rows=rows,
        **values,
        average=(found.values["srcc"] + found.values["plcc"]) / 2 if both else None,
        intervals={name: bootstrap.percentiles(found.resampled.get(name, [])) for name in METRICS},
        confidence=bootstrap.confidence,
        reasons=found.reasons,
    )


def compare_predictions(
    truth: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    *,
    rank_a: ArrayLike | None = None,
    rank_b: ArrayLike | None = None,
    cluster: Sequence[Any] | ArrayLike | None = None,
    metrics: Sequence[str] = METRICS,
    bootstrap: Bootstrap = DEFAULT,
) -> dict[str, Difference]:
    """Each of the `metrics` of two predictions for the same truth. All inputs have shape (rows,);
    `rank_a` and `rank_b` are as `rank_on` in `score_predictions`, and so is `cluster`.

    The bootstrap is paired: both predictions on the same drawn rows. Its p-value is two-sided, and
    below 1 - confidence where the interval excludes 0. Williams' test of two correlations that
    share a variable does not bottom out at the number of resamples. Raises InputError as
    `score_predictions` does.
    """
    table_a = _table(truth, a, rank_a, ("truth", "prediction a", "rank_a"))
    table_b = _table(truth, b, rank_b, ("truth", "prediction b", "rank_b"))
    rows = table_a.shape[1]
    clusters = cluster_numbers(cluster, rows)
    of_a, of_b = (
        _measure(table, clusters, bootstrap.seed, metrics) for table in (table_a, table_b)
    )
    between = {
        "srcc": correlation.srcc(table_a[2], table_b[2]),
        "plcc": correlation.plcc(table_a[1], table_b[1]),
    }
    differences: dict[str, Difference] = {}
    for name in metrics:
        value_a, value_b = of_a.values.get(name), of_b.values.get(name)
        if value_a is None or value_b is None:
            why = (("a", of_a.reasons.get(name)), ("b", of_b.reasons.get(name)))
            reason = "; ".join(f"{side}: {text}" for side, text in why if text)
            differences[name] = Difference(value_a, value_b, reason=reason)
            continue
        apart = of_a.resampled[name] - of_b.resampled[name]
        tested = bootstrap.of_difference(apart)
        found = Difference(value_a, value_b, value_a - value_b, *tested)
        if name in between:
            p_williams = correlation.williams(value_a, value_b, between[name], rows)
            found = CorrelationDifference(**vars(found), p_williams=p_williams)
        differences[name] = found
    return differences


def table_iv(
    model: str, results: Mapping[str, IqaResult], trained_on: Sequence[str]
) -> list[TableIvRow]:
    """A model's rows of Table IV: one for each test dataset, then the means of each setting, None
    where one of the figures is undefined. "intra": the model was trained on the dataset."""

    def row(dataset: str | None, setting: str, of: Sequence[IqaResult]) -> TableIvRow:
        columns = [[r.srcc for r in of], [r.plcc for r in of], [r.average for r in of]]
        return TableIvRow(model, dataset, setting, *map(mean_or_none, columns))

    settings = {name: "intra" if name in trained_on else "cross" for name in results}
    rows = [row(name, setting, [results[name]]) for name, setting in settings.items()]
    for setting in ("intra", "cross"):
        of = [results[name] for name, own in settings.items() if own == setting]
        rows += [row(None, setting, of)] if of else []
    return rows


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """The mean, None where a value is undefined or there are none."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined and len(defined) == len(values) else None


def _table(
    truth: ArrayLike,
    prediction: ArrayLike,
    rank_on: ArrayLike | None,
    names: tuple[str, str, str] = COLUMNS,
) -> Floats:
    """Truth, prediction and rank_on as checked columns, shape (3, rows)."""
    y, x = _column(truth, names[0]), _column(prediction, names[1])
    key = x if rank_on is None else _column(rank_on, names[2])
    if not y.size == x.size == key.size:
        raise InputError(
            f"{y.size} truths, {x.size} predictions and {key.size} ranks; each row needs one"
        )
    return np.stack([y, x, key])


def _column(values: ArrayLike, name: str) -> Floats:
    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the {name} column must hold numbers: {error}") from None
    if column.ndim != 1:
        raise InputError(f"the {name} must be one column, found shape {column.shape}")
    wrong = np.flatnonzero(~np.isfinite(column)) + 1
    if wrong.size:
        listed = ", ".join(map(str, wrong[:5])) + (", ..." if wrong.size > 5 else "")
        raise InputError(f"{name} missing or not finite in {wrong.size} rows: {listed}")
    return column


def _measure(
    table: Floats, clusters: NDArray[np.intp], seed: int, metrics: Sequence[str] = METRICS
) -> _Measured:
    """`table`: truth, prediction and rank_on, shape (3, rows)."""
    y, x, key = table
    reasons: dict[str, str] = {}
    mapped = None
    if y.size < 3:
        reasons = dict.fromkeys(METRICS, f"{y.size} rows; at least 3 are needed")
    else:
        constant = [n for n, column in zip(COLUMNS, table, strict=True) if np.ptp(column) == 0]
        # A saturated prediction may be constant where rank_on is not.
        for names, on in ((RANKED, "rank_on"), (LINEAR, "prediction")):
            if "truth" in constant or on in constant:
                why = f"every {constant[0]} is equal: no correlation is defined"
                reasons |= dict.fromkeys(names, why)
        if "plcc" not in reasons and any(name.endswith("_logistic") for name in metrics):
            mapped = correlation.logistic_mapping(y, x)
            if mapped is None:
                few = f"{y.size} rows; the 4-parameter mapping needs at least 5"
                reasons |= {"plcc_logistic": few, "rmse_logistic": few}
    full = np.vstack([table, x if mapped is None else mapped])
    codes = np.stack([correlation.value_codes(y), correlation.value_codes(key)])
    found = {name: _value(name, full, codes) for name in metrics if name not in reasons}
    values = {name: value for name, value in found.items() if np.isfinite(value)}
    return _Measured(values, _resampled(values, full, codes, clusters, seed), reasons)


def _value(name: str, table: Floats, codes: NDArray[np.intp]) -> float:
    """One metric. `table`: truth, prediction, rank_on and mapped prediction, shape (4, rows);
    `codes`: of truth and rank_on, shape (2, rows)."""
    y, x, _, mapped = table
    if name in RANKED:
        ranks = map(correlation.average_ranks, codes)
        return correlation.krcc(*codes) if name == "krcc" else correlation.plcc(*ranks)
    measure = correlation.rmse if name in ("rmse", "rmse_logistic") else correlation.plcc
    return measure(y, mapped if name in ("plcc_logistic", "rmse_logistic") else x)


def _resampled(
    values: dict[str, float],
    table: Floats,
    codes: NDArray[np.intp],
    clusters: NDArray[np.intp],
    seed: int,
) -> dict[str, Floats]:
    """Bootstrap values of each metric in `values`; none below 2 clusters. Others as for `_value`.

    The drawn rows depend on the seed, the clusters and the number of rows only: two predictions
    for the same truth get the same draws, so their values may be subtracted.
    """
    order = np.argsort(clusters, kind="stable")
    sizes = np.bincount(clusters)
    starts = np.cumsum(sizes) - sizes
    resampled: dict[str, Floats] = {}
    if sizes.size < 2:
        return resampled

    def rows_of(drawn: NDArray[np.intp]) -> NDArray[np.intp]:
        if sizes.size == table.shape[1]:
            return np.asarray(order[drawn])
        lengths = sizes[drawn]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.asarray(order[np.repeat(starts[drawn], lengths) + within])

    # By rows: of a large table, the values of a drawn row are then fetched from memory at once.
    by_row, codes_by_row = np.ascontiguousarray(table.T), np.ascontiguousarray(codes.T)
    rng = np.random.default_rng(seed)
    for names, limit, fewer, resamples in (
        ([n for n in METRICS if n != "krcc"], FULL_ROWS, DRAWN_ROWS, RESAMPLES),
        (["krcc"], KRCC_ROWS, KRCC_ROWS, KRCC_RESAMPLES),
    ):
        wanted = [name for name in names if name in values]
        if not wanted:
            continue
        too_many = table.shape[1] > limit
        size = sizes.size
        if too_many:
            size = min(size, max(FEW_CLUSTERS, round(size * fewer / table.shape[1])))
        found = []
        for drawn in resampled_clusters(sizes.size, rng, resamples, size):
            at = rows_of(drawn)
            some = np.ascontiguousarray(np.take(by_row, at, axis=0).T)
            held = np.ascontiguousarray(np.take(codes_by_row, at, axis=0).T)
            if too_many:  # ranks are counted over the codes, so few rows of many are numbered again
                held = np.stack([correlation.value_codes(column) for column in held])
            found.append([_value(name, some, held) for name in wanted])
        share = np.sqrt(size / sizes.size)
        for name, column in zip(wanted, np.array(found).T, strict=True):
            resampled[name] = values[name] + share * (column - values[name])
    return resampled
