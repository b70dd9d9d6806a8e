"""pure: figures of the benchmarks from other people's raw outputs; no model, no Ray.

Every function reads tables and returns a value whose `to_json` the command line prints: finite
numbers, and null with a reason where a figure is undefined. Rows count from 1, without the header.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qsit_ray import tables
from qsit_ray.errors import InputError
from qsit_ray.evaluation import distributions, iqa
from qsit_ray.evaluation.distributions import DistributionResult, LevelResult
from qsit_ray.evaluation.intervals import DEFAULT, Bootstrap, Difference, Floats
from qsit_ray.evaluation.iqa import IqaResult, TableIvRow
from qsit_ray.levels import (
    LEVELS,
    Range,
    expected_score,
    level_probabilities,
    mos_to_levels,
    two_level_margin,
    two_level_score,
)
from qsit_ray.tables import Table

# Q-Bench divides the logits by this before the softmax.
QBENCH_TEMPERATURE = 100.0
# Usual column names: `compare_iqa` needs no options for files with these.
IDS = ("id", "image", "img_path", "image_path", "filename", "file_name", "name", "key")
TRUTHS = ("truth", "mos", "gt_score", "gt_mos", "gt")
SCORES = ("score", "prediction", "pred", "pred_mos", "pred_score")
# Equal scores may differ by some 1e-15, and differently on another machine; ranks use this many
# decimals, so that they tie.
_DECIMALS = 12


@dataclass(frozen=True)
class Predicted:
    """Predictions of a table, shape (rows,), and the values that SRCC and KRCC rank on.

    `ranked_on` describes these values; `derivation` holds the JSON keys that document the score.
    """

    score: Floats
    rank_on: Floats
    ranked_on: str
    derivation: dict[str, object]


@dataclass(frozen=True)
class Scoring:
    """The source of a prediction: exactly one of a score column, level logits, two levels.

    `logits` and `two_level` are {word: column}. Five logits under the paper's words take the
    numbers of Eq. 2 in any order; any other words take even weights from 1 to 5 in their order.
    """

    score: str | None = None
    logits: Mapping[str, str] | None = None
    two_level: Mapping[str, str] | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        if [self.score, self.logits, self.two_level].count(None) != 2:
            raise InputError("give one of --score COL, --logits WORD=COL,... and --two-level ...")
        if self.logits is not None and len(self.logits) < 2:
            raise InputError("--logits needs two level words or more, from the worst to the best")
        if self.two_level is not None and set(self.two_level) != {"good", "poor"}:
            raise InputError("--two-level needs good=COL,poor=COL (the columns may have any names)")
        if self.temperature is not None and self.two_level is None:
            raise InputError("--temperature belongs to --two-level")

    def read(self, table: Table) -> Predicted:
        """Raises InputError for a missing column and, with the rows, for a missing number."""
        if self.score is not None:
            score = table.numbers(self.score)
            return Predicted(score, score, "the score", {"score": self.score})
        if self.two_level is not None:
            good, poor = (table.numbers(self.two_level[word]) for word in ("good", "poor"))
            temperature = QBENCH_TEMPERATURE if self.temperature is None else self.temperature
            return Predicted(
                two_level_score(good, poor, temperature),
                two_level_margin(good, poor),
                "the logit margin good - poor",
                {"two_level": dict(self.two_level), "temperature": temperature},
            )
        words = dict(self.logits or {})
        if set(words) == set(LEVELS):
            words = {word: words[word] for word in LEVELS}
        weights = np.linspace(1, 5, len(words))
        logits = np.column_stack([table.numbers(column) for column in words.values()])
        score = expected_score(logits, weights)
        derivation: dict[str, object] = {"logits": words, "weights": weights.tolist()}
        if len(words) == 2:
            margin = two_level_margin(logits[:, 1], logits[:, 0])
            return Predicted(score, margin, "the logit margin of the two words", derivation)
        ranked_on = f"the score of Eq. 5 in float64, to {_DECIMALS} decimals"
        return Predicted(score, np.round(score, _DECIMALS), ranked_on, derivation)


def word_columns(text: str | None, option: str) -> dict[str, str] | None:
    """`bad=COL,poor=COL` as {word: column}. Raises InputError that quotes a part without both."""
    if text is None:
        return None
    found: dict[str, str] = {}
    for part in text.split(","):
        word, _, column = (piece.strip() for piece in part.partition("="))
        # A level word is one however it is written: its number of Eq. 2 must not depend on it.
        word = word.lower() if word.lower() in LEVELS else word
        if not word or not column:
            raise InputError(f"{option}: {part!r} must be WORD=COLUMN")
        if word in found:
            raise InputError(f"{option}: {word!r} occurs twice")
        found[word] = column
    return found


@dataclass(frozen=True)
class IqaScores:
    """The figures of a table of predictions, of all rows and by group.

    `table_iv` has the rows of Table IV, None where it is not known on which groups the model was
    trained.
    """

    overall: IqaResult
    groups: dict[str, IqaResult]
    table_iv: list[TableIvRow] | None
    predicted: Predicted
    seed: int
    distribution: DistributionResult | None = None
    clusters: int | None = None
    """Clusters that intervals draw; None where they draw rows."""
    levels: LevelResult | None = None

    @property
    def settings(self) -> dict[str | None, str]:
        """Intra or cross of each group, empty without `table_iv`."""
        return {row.dataset: row.setting for row in self.table_iv or []}

    def to_json(self) -> dict[str, object]:
        """`average_of_groups` is the paper's mean over databases."""
        overall = self.overall.to_json()
        groups = {name: group.to_json() for name, group in self.groups.items()}
        found = {**overall, "overall": overall, "groups": groups}
        if groups:
            averages = [group.average for group in self.groups.values()]
            found["average_of_groups"] = iqa.mean_or_none(averages)
        if self.table_iv is not None:
            for name, group in groups.items():
                group["setting"] = self.settings[name]
            found["table_iv"] = [asdict(row) for row in self.table_iv]
        if self.distribution is not None:
            found["distribution"] = self.distribution.to_json()
        if self.levels is not None:
            found["levels"] = self.levels.to_json()
        if self.clusters is not None:
            found["clusters"] = self.clusters
        derivation = {**self.predicted.derivation, "ranked_on": self.predicted.ranked_on}
        return {**found, **derivation, "seed": self.seed}


def score_iqa(
    path: Path,
    scoring: Scoring,
    *,
    id_column: str,
    truth_column: str,
    by: str | None = None,
    trained_on: Sequence[str] | None = None,
    lower_better: bool = False,
    votes: Mapping[str, str] | None = None,
    cluster_column: str | None = None,
    where: Mapping[str, str] | None = None,
    level_range: Range | None = None,
    bootstrap: Bootstrap = DEFAULT,
) -> IqaScores:
    """SRCC, PLCC, KRCC and RMSE of a table of predictions.

    `votes` names the columns of people's votes, or their shares, by level word: the probabilities
    of Eq. 4 are then compared with them.

    `by` names the column of groups, such as datasets; an id must then be unique within its group
    only. `cluster_column` names what rows share, such as a reference image: intervals then draw
    these and not rows, which are not independent. `where`: only the rows with these values are
    read. `level_range`: of the truth's levels (Eq. 1), with which the most probable ones compare.
    `trained_on` are groups. `lower_better`: the truth is DMOS, and correlates with its sign
    turned; there is then no RMSE of the raw scores, which rise with quality. Raises InputError,
    with the row, for a value that is missing.
    """
    table = tables.read(path)
    for column, value in (where or {}).items():
        table = table.where(column, value)
    names = None if by is None else table.labels(by)
    table.ids(id_column, within=names)
    truth = table.numbers(truth_column) * (-1 if lower_better else 1)
    predicted = scoring.read(table)
    if trained_on is not None and by is None:
        raise InputError("--trained-on needs --by COL, the column of dataset names")

    clusters = None if cluster_column is None else np.array(table.labels(cluster_column))

    def result_of(rows: NDArray[np.bool_]) -> IqaResult:
        found = iqa.score_predictions(
            truth[rows],
            predicted.score[rows],
            rank_on=predicted.rank_on[rows],
            cluster=None if clusters is None else clusters[rows],
            bootstrap=bootstrap,
        )
        if not lower_better:
            return found
        why = {"rmse": "the truth falls with quality, the score rises"}
        intervals = {**found.intervals, "rmse": None}
        return replace(found, rmse=None, intervals=intervals, reasons=found.reasons | why)

    overall = result_of(np.ones(table.rows, dtype=bool))
    groups = {name: result_of(np.array(names) == name) for name in dict.fromkeys(names or [])}
    table_iv = None if trained_on is None else iqa.table_iv(path.stem, groups, trained_on)
    distribution = None if votes is None else _distribution(table, scoring, votes, bootstrap)
    drawn = None if clusters is None else len(set(clusters.tolist()))
    levels = None
    if level_range is not None:
        shares = level_probabilities(_level_logits(table, scoring, "--range"))
        mos = table.numbers(truth_column)
        try:
            converted = mos_to_levels(mos, level_range, lower_better=lower_better)
            levels = distributions.level_calibration(shares, converted)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return IqaScores(
        overall, groups, table_iv, predicted, bootstrap.seed, distribution, drawn, levels
    )


def _level_logits(table: Table, scoring: Scoring, option: str) -> Floats:
    """The logits of the paper's words, shape (rows, 5)."""
    if set(scoring.logits or ()) != set(LEVELS):
        raise InputError(f"{option} needs --logits of {', '.join(LEVELS)}")
    columns = dict(scoring.logits or {})
    return np.column_stack([table.numbers(columns[word]) for word in LEVELS])


def _distribution(
    table: Table, scoring: Scoring, votes: Mapping[str, str], bootstrap: Bootstrap
) -> DistributionResult:
    if set(votes) != set(LEVELS):
        raise InputError(f"--votes needs the columns of {', '.join(LEVELS)}")
    given = _level_logits(table, scoring, "--votes")
    counted = np.column_stack([table.numbers(votes[word]) for word in LEVELS])
    try:
        return distributions.compare(level_probabilities(given), counted, bootstrap)
    except InputError as error:
        raise InputError(f"{table.path}: {error}") from None


@dataclass(frozen=True)
class CommonIds:
    """Row indices of the ids in both files, in A's order, and the ids that only one file has."""

    at_a: NDArray[np.intp]
    at_b: NDArray[np.intp]
    only_in_a: list[object]
    only_in_b: list[object]

    def to_json(self) -> dict[str, object]:
        return {
            "only_in_a": self.only_in_a,
            "only_in_b": self.only_in_b,
            "only_in_a_count": len(self.only_in_a),
            "only_in_b_count": len(self.only_in_b),
        }


def common_ids(ids_a: Sequence[object], ids_b: Sequence[object], a: Path, b: Path) -> CommonIds:
    """Raises InputError where no id is in both files."""
    index_a, index_b = ({name: i for i, name in enumerate(ids)} for ids in (ids_a, ids_b))
    both = [name for name in ids_a if name in index_b]
    if not both:
        raise InputError(f"{a} and {b}: no id is in both; the first are {ids_a[0]!r}, {ids_b[0]!r}")
    return CommonIds(
        np.array([index_a[name] for name in both], dtype=np.intp),
        np.array([index_b[name] for name in both], dtype=np.intp),
        [name for name in ids_a if name not in index_b],
        [name for name in ids_b if name not in index_a],
    )


@dataclass(frozen=True)
class FileComparison:
    """Two files, A - B, over the `rows` of the ids in both; `content` is its JSON. `clusters`: that
    intervals draw, None where they draw rows."""

    rows: int
    metrics: dict[str, Difference]
    ids: CommonIds
    content: dict[str, object]
    clusters: int | None = None


def compare_iqa(
    a: Path,
    b: Path,
    scoring: Scoring | None = None,
    *,
    id_column: str | None = None,
    truth_column: str | None = None,
    cluster_column: str | None = None,
    bootstrap: Bootstrap = DEFAULT,
) -> FileComparison:
    """Compare two tables of predictions; the headline is SRCC. `cluster_column`, of A, is as in
    `score_iqa`.

    Columns that are not named are found by their usual names. The truth is read from A; where B
    has it too it must be the same. Raises InputError where it is not, and without common ids.
    """
    ids: list[list[str]] = []
    predicted: list[Predicted] = []
    truths: list[Floats] = []
    clusters = None
    for path in (a, b):
        table = tables.read(path)
        if path is a and cluster_column is not None:
            clusters = np.array(table.labels(cluster_column))
        ids.append(table.ids(id_column or table.first_of("--id COL", IDS, several=True)))
        source = scoring or Scoring(score=table.first_of("--score COL", SCORES))
        predicted.append(source.read(table))
        wanted = (truth_column,) if truth_column else TRUTHS
        if path is a or any(name in table.names for name in wanted):
            truths.append(table.numbers(table.first_of("--truth COL", wanted)))
    common = common_ids(ids[0], ids[1], a, b)
    at_a, at_b = common.at_a, common.at_b
    truth = truths[0][at_a]
    for other in truths[1:]:
        differs = np.flatnonzero(np.abs(truth - other[at_b]) > 1e-6 * np.abs(truth).max())
        if differs.size:
            i = differs[0]
            raise InputError(
                f"{a} and {b} give {differs.size} ids different truths, the first "
                f"{ids[0][at_a[i]]!r}: {truth[i]:g} and {other[at_b[i]]:g}"
            )
    found = iqa.compare_predictions(
        truth,
        predicted[0].score[at_a],
        predicted[1].score[at_b],
        rank_a=predicted[0].rank_on[at_a],
        rank_b=predicted[1].rank_on[at_b],
        cluster=None if clusters is None else clusters[at_a],
        bootstrap=bootstrap,
    )
    drawn = None if clusters is None else len(set(clusters[at_a].tolist()))
    metrics = {name: asdict(difference) for name, difference in found.items()}
    content = {
        "task": "iqa",
        "metric": "srcc",
        **metrics["srcc"],
        "rows": at_a.size,
        "metrics": metrics,
        "confidence": bootstrap.confidence,
        **common.to_json(),
        "seed": bootstrap.seed,
    }
    content |= {} if drawn is None else {"clusters": drawn}
    return FileComparison(at_a.size, found, common, content, drawn)
