"""pure: image quality assessment: SRCC, PLCC, KRCC, RMSE with intervals (Tables II and IV).

Intervals are percentile bootstrap intervals over rows, or over clusters of rows where cluster ids
are given: the crops of one photograph are not independent. Beyond 20,000 rows (2,000 for KRCC,
whose cost is highest) each of the resamples draws only 5,000 (2,000) rows, and its distance from
the full value is scaled by the root of the share drawn: the m-out-of-n bootstrap, valid for
statistics whose error shrinks with the root of the rows. So a million rows take seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.intervals import check_confidence, cluster_numbers, percentiles
from qsit_ray.errors import InputError

Floats = NDArray[np.float64]

METRICS = ("srcc", "plcc", "plcc_logistic", "krcc", "rmse", "rmse_logistic")
COLUMNS = ("truth", "prediction", "rank_on")
LINEAR = ("plcc", "plcc_logistic", "rmse_logistic")
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


def compare(
    truth: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    *,
    rank_a: ArrayLike | None = None,
    rank_b: ArrayLike | None = None,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Two predictions for the same truth, a - b. All inputs have shape (rows,); `rank_a` and
    `rank_b` are what SRCC and KRCC rank by, as in `evaluate`.

    Returns rows, confidence and metrics {name: {a, b, difference, interval, p_value, reason}}.
    Interval and p_value come from the paired bootstrap (both predictions on the same drawn rows;
    the p-value is two-sided, and below 1 - confidence where the interval leaves out 0). srcc and
    plcc also have p_williams, Williams' test of two correlations that share a variable, which does
    not bottom out at the number of resamples. Raises InputError as `evaluate` does.
    """
    check_confidence(confidence)
    y = _column(truth, "truth")
    tables = []
    for prediction, rank, name in ((a, rank_a, "a"), (b, rank_b, "b")):
        x = _column(prediction, f"prediction {name}")
        key = x if rank is None else _column(rank, f"rank_{name}")
        if not y.size == x.size == key.size:
            raise InputError(f"{y.size} truths and {x.size} predictions; one a row is needed")
        tables.append(np.stack([y, x, key]))
    (values_a, why_a, shown_a), (values_b, why_b, shown_b) = map(_values, tables)
    clusters = np.arange(y.size)
    drawn_a = _resampled(shown_a, clusters, values_a, seed)
    drawn_b = _resampled(shown_b, clusters, values_b, seed)
    metrics: dict[str, dict[str, Any]] = {}
    for name in METRICS:
        pair = (values_a[name], values_b[name])
        found: dict[str, Any] = dict(
            zip("ab", (v if np.isfinite(v) else None for v in pair), strict=True)
        )
        found |= {"difference": None, "interval": None, "p_value": None, "reason": None}
        reasons = [
            f"{side}: {why[name]}" for side, why in (("a", why_a), ("b", why_b)) if name in why
        ]
        if reasons:
            found["reason"] = "; ".join(reasons)
        else:
            apart = drawn_a[name] - drawn_b[name]
            ends = percentiles(apart, confidence)
            tail = min(int(np.sum(apart <= 0)), int(np.sum(apart >= 0))) + 1
            found["difference"] = pair[0] - pair[1]
            found["interval"] = list(ends) if ends else None
            found["p_value"] = min(1.0, 2 * tail / (apart.size + 1)) if ends else None
            if name in ("srcc", "plcc"):
                row = 2 if name == "srcc" else 1
                between = (srcc if name == "srcc" else plcc)(tables[0][row], tables[1][row])
                found["p_williams"] = _williams(*pair, between, y.size)
        metrics[name] = found
    return {"rows": int(y.size), "metrics": metrics, "confidence": confidence}


def table_iv(
    results: Mapping[str, Mapping[str, Mapping[str, Any]]],
    trained_on: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """Table IV's layout: a row for each model and test dataset, marked intra or cross.

    `results`: {model: {dataset: what `evaluate` returns}}; `trained_on`: {model: datasets it was
    trained on}. A dataset is intra where the model was trained on it, cross otherwise. Each model
    ends with its means over the intra and the cross datasets (dataset null), null where one of
    them is undefined. Raises InputError for a model whose training is not told.
    """
    rows: list[dict[str, Any]] = []
    for model, datasets in results.items():
        if model not in trained_on:
            raise InputError(f"model {model!r}: say which datasets it was trained on")
        own = [
            {
                "model": model,
                "dataset": dataset,
                "setting": "intra" if dataset in trained_on[model] else "cross",
                **{name: found[name] for name in ("srcc", "plcc", "average")},
            }
            for dataset, found in datasets.items()
        ]
        rows += own
        for setting in ("intra", "cross"):
            of = [row for row in own if row["setting"] == setting]
            if of:
                mean: dict[str, Any] = {"model": model, "dataset": None, "setting": setting}
                for name in ("srcc", "plcc", "average"):
                    column = [row[name] for row in of]
                    mean[name] = None if None in column else float(np.mean(column))
                rows.append(mean)
    return rows


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


def _block(
    table: Floats, clusters: NDArray[np.intp], seed: int, confidence: float
) -> dict[str, Any]:
    """The figures of one group. `table`: truth, prediction and rank_on, shape (3, rows)."""
    result: dict[str, Any] = {"rows": int(table.shape[1])}
    values, reasons, shown = _values(table)
    intervals: dict[str, list[float] | None] = dict.fromkeys(METRICS)
    if table.shape[1] >= 3:
        intervals = _intervals(shown, clusters, values, seed, confidence)
    result |= {name: value if np.isfinite(value) else None for name, value in values.items()}
    both = result["srcc"] is not None and result["plcc"] is not None
    result["average"] = (result["srcc"] + result["plcc"]) / 2 if both else None
    return result | {"intervals": intervals, "confidence": confidence, "reasons": reasons}


def _values(table: Floats) -> tuple[dict[str, float], dict[str, str], Floats]:
    """Each metric's value (NaN where undefined), the reasons, and the table with the mapped
    prediction as its fourth row."""
    y, x, key = table
    values: dict[str, float] = dict.fromkeys(METRICS, float("nan"))
    reasons: dict[str, str] = {}
    shown = np.vstack([table, x])
    if y.size < 3:
        few = f"{y.size} rows; at least 3 are needed"
        return values, dict.fromkeys(METRICS, few), shown
    values["rmse"] = rmse(y, x)
    constant = {name: np.ptp(c) == 0 for name, c in zip(COLUMNS, table, strict=True)}
    # A saturated prediction may be constant where what it ranks on is not.
    for names, on in ((("srcc", "krcc"), "rank_on"), (LINEAR, "prediction")):
        blame = next((n for n in ("truth", "prediction", on) if constant[n]), None)
        if constant["truth"] or constant[on]:
            why = f"every {blame} is equal: no correlation is defined"
            reasons |= dict.fromkeys(names, why)
    if "srcc" not in reasons:
        values |= {"srcc": srcc(y, key), "krcc": krcc(y, key)}
    if "plcc" in reasons:
        return values, reasons, shown
    values["plcc"] = plcc(y, x)
    mapped = logistic_mapping(y, x)
    if mapped is None:
        few = f"{y.size} rows; the 4-parameter mapping needs at least 5"
        return values, reasons | {"plcc_logistic": few, "rmse_logistic": few}, shown
    shown[3] = mapped
    values |= {"plcc_logistic": plcc(y, mapped), "rmse_logistic": rmse(y, mapped)}
    return values, reasons, shown


def _intervals(
    table: Floats,
    clusters: NDArray[np.intp],
    values: dict[str, float],
    seed: int,
    confidence: float,
) -> dict[str, list[float] | None]:
    """Bootstrap intervals of the metrics with a value. `table`: truth, prediction, key, mapped."""
    found = _resampled(table, clusters, values, seed)
    ends = {name: percentiles(column, confidence) for name, column in found.items()}
    return {name: list(e) if (e := ends.get(name)) else None for name in METRICS}


def _resampled(
    table: Floats, clusters: NDArray[np.intp], values: dict[str, float], seed: int
) -> dict[str, Floats]:
    """Bootstrap values of each metric that has one, shape (resamples,), none below 2 clusters.

    Which rows a resample draws goes by the seed, the clusters and the rows only: two predictions
    for the same truth get the same draws, so their values may be subtracted.
    """
    order = np.argsort(clusters, kind="stable")
    sizes = np.bincount(clusters)
    starts = np.cumsum(sizes) - sizes
    codes = np.stack([_codes(table[0]), _codes(table[2])])

    def drawn(rng: np.random.Generator, units: int) -> NDArray[np.intp]:
        picked = rng.integers(sizes.size, size=units)
        if sizes.size == table.shape[1]:
            return np.asarray(order[picked])
        lengths = sizes[picked]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.asarray(order[np.repeat(starts[picked], lengths) + within])

    resampled: dict[str, Floats] = {}
    if sizes.size < 2:
        return resampled
    others = tuple(name for name in METRICS if name != "krcc")
    jobs = (
        (others, FULL_ROWS, DRAWN_ROWS, RESAMPLES),
        (("krcc",), KRCC_ROWS, KRCC_ROWS, KRCC_RESAMPLES),
    )
    rng = np.random.default_rng(seed)
    for names, limit, rows, resamples in jobs:
        units = sizes.size
        if table.shape[1] > limit:
            units = min(units, max(FEW_CLUSTERS, round(units * rows / table.shape[1])))
        share = np.sqrt(units / sizes.size)
        wanted = [name for name in names if np.isfinite(values[name])]
        found = np.empty((resamples, len(wanted)))
        for i in range(resamples if wanted else 0):
            at = drawn(rng, units)
            places = codes[:, at]
            if table.shape[1] > limit:
                places = np.stack([_codes(places[0]), _codes(places[1])])
            columns = table[:, at]
            found[i] = [_measure(name, columns, places) for name in wanted]
        for k, name in enumerate(wanted):
            resampled[name] = values[name] + share * (found[:, k] - values[name])
    return resampled


def _williams(r_a: float, r_b: float, r_ab: float, rows: int) -> float | None:
    """Two-sided p of Williams' t test that two correlations with the same variable are equal.

    None below 4 rows. Steiger (1980), Psychological Bulletin 87, eq. 7.
    """
    from scipy.special import stdtr  # Student's distribution, without the slow scipy.stats

    if rows < 4:
        return None
    if r_a == r_b:
        return 1.0
    determinant = 1 - r_a**2 - r_b**2 - r_ab**2 + 2 * r_a * r_b * r_ab
    spread = 2 * (rows - 1) / (rows - 3) * determinant + ((r_a + r_b) / 2) ** 2 * (1 - r_ab) ** 3
    if spread <= 0:
        return 0.0
    t = (r_a - r_b) * np.sqrt((rows - 1) * (1 + r_ab) / spread)
    return float(2 * stdtr(rows - 3, -abs(t)))


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


MANY_POINTS = 20_000


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
    # Rows of equal prediction enter once, by their mean and their number: the same least squares.
    points, inverse, counts = np.unique(u, return_inverse=True, return_counts=True)
    means, roots = np.bincount(inverse, v) / counts, np.sqrt(counts)
    way = 1.0 if u @ v >= 0 else -1.0
    # The second start is nearly a straight line, which is where the best curve lies for linear
    # scores.
    starts = ([way * v.max(), way * v.min(), 0.0, 1.0], [way * 10.0, way * -10.0, 0.0, 5.0])
    if way < 0:
        starts = ([v.min(), v.max(), 0.0, 1.0], starts[1])

    def curve(b: Floats, at: Floats) -> Floats:
        return np.asarray(b[1] + (b[0] - b[1]) * expit((at - b[2]) / b[3]))

    def fit(start: Sequence[float] | Floats, step: int) -> Any:
        at, wanted, root = points[::step], means[::step], roots[::step]

        def miss(b: Floats) -> Floats:
            return root * (curve(b, at) - wanted)

        def slopes(b: Floats) -> Floats:
            s = expit((at - b[2]) / b[3])
            along = (b[0] - b[1]) * s * (1 - s) / b[3]
            columns = [s, 1 - s, -along, -along * (at - b[2]) / b[3]]
            return np.asarray(root[:, None] * np.column_stack(columns))

        bounds = ([-np.inf, -np.inf, -np.inf, 1e-3], [np.inf] * 4)
        return least_squares(miss, start, jac=slopes, bounds=bounds, max_nfev=200)

    # With very many points, every so-manyth finds the way and all of them the end.
    step = -(-points.size // MANY_POINTS)
    best = min((fit(start, step) for start in starts), key=lambda one: float(one.cost)).x
    if step > 1:
        best = fit(best, 1).x
    return np.asarray(curve(best, u) * y.std() + y.mean())
