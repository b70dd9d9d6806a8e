"""pure: image quality assessment: SRCC, PLCC, KRCC, RMSE with intervals (Tables II and IV).

Intervals are percentile bootstrap intervals over rows, or over clusters of rows where cluster ids
are given: the crops of one photograph are not independent. Beyond 20,000 rows (2,000 for KRCC,
whose cost is highest) each of the resamples draws only 5,000 (2,000) rows, and its distance from
the full value is scaled by the root of the share drawn: the m-out-of-n bootstrap, valid for
statistics whose error shrinks with the root of the rows. So a million rows take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.intervals import check_confidence, cluster_numbers, percentiles
from qsit_ray.errors import InputError

Floats = NDArray[np.float64]

METRICS = ("srcc", "plcc", "plcc_logistic", "krcc", "rmse", "rmse_logistic")
RESAMPLES = 1000
FULL_ROWS, DRAWN_ROWS = 20_000, 5_000
KRCC_ROWS, KRCC_RESAMPLES = 2_000, 400
# Fewer clusters than this are all redrawn, however many rows they hold.
FEW_CLUSTERS = 100


def evaluate(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    rank_on: ArrayLike | None = None,
    groups: Sequence[Any] | ArrayLike | None = None,
    cluster: Sequence[Any] | ArrayLike | None = None,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Agreement of predictions with MOS. All inputs have shape (rows,).

    `rank_on` is what SRCC and KRCC rank by, if not the prediction: give the logit margin for a
    two-level score, which saturates and ties. `groups` (such as the dataset) adds "by_group".
    `cluster` is what the bootstrap draws.

    Returns rows, srcc (average ranks for ties), plcc, plcc_logistic and rmse_logistic (after the
    4-parameter logistic mapping of `logistic_mapping`), krcc (tau-b), rmse (on the raw prediction),
    average = (srcc + plcc) / 2, intervals {metric: [low, high] or null} with the mapping held
    fixed, confidence, and reasons {metric: why it is null}.

    Raises InputError for lengths that differ and for values that are missing or not finite, by row
    (the first is 0).
    """
    check_confidence(confidence)
    y, x = _column(truth, "truth"), _column(prediction, "prediction")
    key = x if rank_on is None else _column(rank_on, "rank_on")
    if not y.size == x.size == key.size:
        raise InputError(
            f"{y.size} truths, {x.size} predictions and {key.size} ranks; one a row is needed"
        )
    clusters = cluster_numbers(cluster, y.size)
    table = np.stack([y, x, key])
    result = _block(table, clusters, seed, confidence)
    if groups is not None:
        numbers = cluster_numbers(groups, y.size, "group")
        names = np.asarray(groups)
        result["by_group"] = {}
        for number in dict.fromkeys(numbers.tolist()):
            at = np.flatnonzero(numbers == number)
            inside = cluster_numbers(clusters[at], at.size)
            block = _block(table[:, at], inside, seed, confidence)
            result["by_group"][str(names[at[0]])] = block
        averages = [block["average"] for block in result["by_group"].values()]
        defined = averages and all(a is not None for a in averages)
        result["average_of_groups"] = float(np.mean(averages)) if defined else None
    return result


def srcc(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Spearman's rank correlation with average ranks for ties; NaN where either is constant."""
    return plcc(_ranks(_codes(truth)), _ranks(_codes(prediction)))


def plcc(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Pearson's correlation; NaN where either is constant or there are fewer than 2 rows."""
    y, x = _centred(truth), _centred(prediction)
    if y is None or x is None:
        return float("nan")
    # Plain sums: BLAS would start threads for every small product, and add in its own order.
    return float(np.clip((y * x).sum() / np.sqrt((y * y).sum() * (x * x).sum()), -1, 1))


def krcc(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Kendall's tau-b; NaN where either is constant."""
    from scipy.stats import kendalltau  # lazily: scipy.stats is slow to import

    return float(kendalltau(np.asarray(truth, float), np.asarray(prediction, float)).statistic)


def rmse(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Root of the mean squared difference, in units of both."""
    return float(np.sqrt(np.mean((np.asarray(truth, float) - np.asarray(prediction, float)) ** 2)))


def logistic_mapping(truth: ArrayLike, prediction: ArrayLike) -> Floats | None:
    """Predictions mapped to the truth by least squares: b2 + (b1 - b2) / (1 + exp(-(x - b3) /
    |b4|)).

    The usual monotone mapping before PLCC (VQEG). None where either column is constant, or with no
    more than 4 rows, where the mapping would have as many parameters as rows.
    """
    from scipy.optimize import least_squares
    from scipy.special import expit

    y, x = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    if y.size <= 4 or np.ptp(y) == 0 or np.ptp(x) == 0:
        return None
    # In standard units the starts and the step control mean the same for every score range.
    u, v = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()

    def curve(b: Floats) -> Floats:
        return np.asarray(b[1] + (b[0] - b[1]) * expit((u - b[2]) / b[3]))

    def slopes(b: Floats) -> Floats:
        s = expit((u - b[2]) / b[3])
        along = (b[0] - b[1]) * s * (1 - s) / b[3]
        return np.column_stack([s, 1 - s, -along, -along * (u - b[2]) / b[3]])

    way = 1.0 if u @ v >= 0 else -1.0
    # The second start is nearly a straight line, which is where the best curve lies for linear
    # scores.
    starts = ([way * v.max(), way * v.min(), 0.0, 1.0], [way * 10.0, way * -10.0, 0.0, 5.0])
    if way < 0:
        starts = ([v.min(), v.max(), 0.0, 1.0], starts[1])
    bounds = ([-np.inf, -np.inf, -np.inf, 1e-3], [np.inf] * 4)

    def miss(b: Floats) -> Floats:
        return curve(b) - v

    found = [least_squares(miss, b, jac=slopes, bounds=bounds, max_nfev=200) for b in starts]
    best = min(found, key=lambda one: float(one.cost))
    return np.asarray(curve(best.x) * y.std() + y.mean())


def _block(
    table: Floats, clusters: NDArray[np.intp], seed: int, confidence: float
) -> dict[str, Any]:
    """The figures of one group. `table`: truth, prediction and rank_on, shape (3, rows)."""
    y, x, key = table
    result: dict[str, Any] = {"rows": int(y.size)}
    values: dict[str, float] = dict.fromkeys(METRICS, float("nan"))
    intervals: dict[str, list[float] | None] = dict.fromkeys(METRICS)
    reasons: dict[str, str] = {}
    if y.size < 3:
        reasons = dict.fromkeys(METRICS, f"{y.size} rows; at least 3 are needed")
    else:
        values["rmse"] = rmse(y, x)
        same = [
            name
            for name, c in (("truth", y), ("prediction", x), ("rank_on", key))
            if np.ptp(c) == 0
        ]
        mapped = None
        if same:
            reasons = dict.fromkeys(METRICS, f"every {same[0]} is equal: no correlation is defined")
            del reasons["rmse"]
        else:
            values |= {"srcc": srcc(y, key), "plcc": plcc(y, x), "krcc": krcc(y, key)}
            mapped = logistic_mapping(y, x)
            if mapped is None:
                few = f"{y.size} rows; the 4-parameter mapping needs at least 5"
                reasons = {"plcc_logistic": few, "rmse_logistic": few}
            else:
                values |= {"plcc_logistic": plcc(y, mapped), "rmse_logistic": rmse(y, mapped)}
        shown = np.vstack([table, x if mapped is None else mapped])
        intervals = _intervals(shown, clusters, values, seed, confidence)
    result |= {name: value if np.isfinite(value) else None for name, value in values.items()}
    both = result["srcc"] is not None and result["plcc"] is not None
    result["average"] = (result["srcc"] + result["plcc"]) / 2 if both else None
    return result | {"intervals": intervals, "confidence": confidence, "reasons": reasons}


def _intervals(
    table: Floats,
    clusters: NDArray[np.intp],
    values: dict[str, float],
    seed: int,
    confidence: float,
) -> dict[str, list[float] | None]:
    """Bootstrap intervals of the metrics with a value. `table`: truth, prediction, key, mapped."""
    order = np.argsort(clusters, kind="stable")
    sizes = np.bincount(clusters)
    starts = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(seed)
    codes = np.stack([_codes(table[0]), _codes(table[2])])

    def drawn(units: int) -> NDArray[np.intp]:
        picked = rng.integers(sizes.size, size=units)
        if sizes.size == table.shape[1]:
            return np.asarray(order[picked])
        lengths = sizes[picked]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.asarray(order[np.repeat(starts[picked], lengths) + within])

    intervals: dict[str, list[float] | None] = dict.fromkeys(METRICS)
    if sizes.size < 2:
        return intervals
    others = tuple(name for name in METRICS if name != "krcc")
    jobs = (
        (others, FULL_ROWS, DRAWN_ROWS, RESAMPLES),
        (("krcc",), KRCC_ROWS, KRCC_ROWS, KRCC_RESAMPLES),
    )
    for names, limit, rows, resamples in jobs:
        units = sizes.size
        if table.shape[1] > limit:
            units = min(units, max(FEW_CLUSTERS, round(units * rows / table.shape[1])))
        share = np.sqrt(units / sizes.size)
        wanted = [name for name in names if np.isfinite(values[name])]
        found = np.empty((resamples, len(wanted)))
        for i in range(resamples if wanted else 0):
            at = drawn(units)
            places = codes[:, at]
            if table.shape[1] > limit:
                places = np.stack([_codes(places[0]), _codes(places[1])])
            columns = table[:, at]
            found[i] = [_measure(name, columns, places) for name in wanted]
        for k, name in enumerate(wanted):
            ends = percentiles(values[name] + share * (found[:, k] - values[name]), confidence)
            intervals[name] = list(ends) if ends else None
    return intervals


def _measure(name: str, columns: Floats, places: NDArray[np.intp]) -> float:
    y, x, _, mapped = columns
    if name == "srcc":
        return plcc(_ranks(places[0]), _ranks(places[1]))
    if name == "krcc":
        return krcc(places[0], places[1])
    return (plcc if name.startswith("plcc") else rmse)(y, mapped if "logistic" in name else x)


def _column(values: ArrayLike, what: str) -> Floats:
    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the {what} column must hold numbers: {error}") from None
    if column.ndim != 1:
        raise InputError(f"the {what} must be one column, found shape {column.shape}")
    wrong = np.flatnonzero(~np.isfinite(column))
    if wrong.size:
        listed = ", ".join(map(str, wrong[:5])) + (", ..." if wrong.size > 5 else "")
        raise InputError(
            f"{what} missing or not finite in {wrong.size} rows (first row is 0): {listed}"
        )
    return column


def _codes(values: ArrayLike) -> NDArray[np.intp]:
    """Each value's place among the distinct values, from 0."""
    return np.asarray(np.unique(np.asarray(values), return_inverse=True)[1], dtype=np.intp)


def _ranks(codes: NDArray[np.intp]) -> Floats:
    """Average ranks, from 1, of values given as codes: counting instead of sorting."""
    counts = np.bincount(codes)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[codes])


def _centred(values: ArrayLike) -> Floats | None:
    """Deviations from the mean, the greatest 1, so that no square overflows; None if constant."""
    array = np.asarray(values, dtype=np.float64)
    if array.size < 2 or np.ptp(array) == 0:
        return None
    deviation = array - array.mean()
    return np.asarray(deviation / np.abs(deviation).max())
