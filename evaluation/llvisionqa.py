"""pure: LLVisionQA (Q-Bench): accuracy by type and concern (Table V) of replies that
`evaluation.matching` matches to candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsit_ray.data.catalog import CONCERNS, TYPES
from qsit_ray.errors import InputError
from qsit_ray.evaluation.intervals import DEFAULT, Bootstrap, Difference, Interval, cluster_numbers
from qsit_ray.evaluation.matching import match, official_matches

Rule = Literal["default", "official"]
RULES: tuple[Rule, ...] = ("default", "official")
Question = Mapping[str, object]
"""A record of LLVisionQA: type, concern, question, img_path, candidates and correct_ans. Other
benchmarks' have no type and no concern."""


@dataclass(frozen=True)
class AnswerResult:
    """Table V's figures of one model; None where a figure is undefined.

    `random_guess`: expected accuracy of guessing. `by_type`, `by_concern`: accuracies. `missing`
    and `unparsable` replies count as wrong; their `_rows` are indices, from 0. `of_parsed`: the
    accuracy of the others.
    """

    accuracy: float | None
    interval: Interval | None
    confidence: float
    random_guess: float | None
    by_type: dict[str, float | None]
    by_concern: dict[str, float | None]
    rows: int
    missing: int
    unparsable: int
    missing_rows: list[int]
    unparsable_rows: list[int]
    rule: Rule
    of_parsed: float | None = None

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> AnswerResult:
        """The inverse of `to_json`."""
        ends = content["interval"]
        return cls(**{**content, "interval": ends and (ends[0], ends[1])})


@dataclass(frozen=True)
class AccuracyDifference(Difference):
    """`only_a`, `only_b`: questions that only one model answered correctly; `p_value` is of the
    exact two-sided McNemar test on these."""

    only_a: int = 0
    only_b: int = 0


@dataclass(frozen=True)
class Graded:
    """Which replies are right, shape (rows,); indices, from 0, of those missing and unparsable."""

    right: NDArray[np.bool_]
    missing: list[int]
    unparsable: list[int]


def random_guess(questions: Sequence[Question]) -> float | None:
    """Expected accuracy of guessing, the mean of 1 / candidates; None without questions."""
    if not questions:
        return None
    return float(np.mean([1 / len(_candidates(q, row)) for row, q in enumerate(questions, 1)]))


def grade(
    questions: Sequence[Question], replies: Sequence[str | None], rule: Rule = "default"
) -> Graded:
    """Grade each reply.

    Under the official rule a reply is right where the test holds for the right candidate, even if
    it holds for others too, and unparsable where it holds for none. Raises InputError, with the
    row, for lengths that differ and for a question without an answer among its candidates.
    """
    if rule not in RULES:
        raise InputError(f"rule {rule!r} is not known; write default or official")
    _check_lengths(questions, replies)
    right = np.zeros(len(questions), dtype=bool)
    missing, unparsable = [], []
    for index, (question, reply) in enumerate(zip(questions, replies, strict=True)):
        place = f"question {index + 1}"
        candidates = _candidates(question, index + 1)
        correct = question.get("correct_ans")
        if correct not in candidates:
            raise InputError(f"{place}: correct_ans {correct!r} is not one of its candidates")
        if reply is None or _is_missing(reply):
            missing.append(index)
            continue
        if not isinstance(reply, str):
            raise InputError(f"{place}: expected a string or null as the reply, got {reply!r}")
        if rule == "official":
            matches = official_matches(reply, candidates)
        else:
            chosen = match(reply, candidates)
            matches = [] if chosen is None else [chosen]
        right[index] = candidates.index(correct) in matches
        if not matches:
            unparsable.append(index)
    return Graded(right, missing, unparsable)


def grade_replies(
    questions: Sequence[Question],
    replies: Sequence[str | None],
    *,
    rule: Rule = "default",
    cluster: Sequence[Any] | ArrayLike | None = None,
    bootstrap: Bootstrap = DEFAULT,
) -> AnswerResult:
    """Table V's figures. `questions`: records with type, concern, candidates and correct_ans;
    `replies` in the same order.

    The bootstrap draws the groups of `cluster`, such as photographs, by default rows; below two
    there is no interval. Raises InputError as `grade` does, and for an unknown type or concern.
    """
    graded = grade(questions, replies, rule)
    right = graded.right

    def accuracy(rows: NDArray[np.bool_]) -> float | None:
        return float(right[rows].mean()) if rows.any() else None

    return AnswerResult(
        accuracy=accuracy(np.ones(right.size, dtype=bool)),
        interval=bootstrap.mean_interval(right, cluster_numbers(cluster, right.size)),
        confidence=bootstrap.confidence,
        random_guess=random_guess(questions),
        by_type=_by_kind(questions, "type", TYPES, accuracy),
        by_concern=_by_kind(questions, "concern", CONCERNS, accuracy),
        rows=right.size,
        missing=len(graded.missing),
        unparsable=len(graded.unparsable),
        missing_rows=graded.missing,
        unparsable_rows=graded.unparsable,
        rule=rule,
        of_parsed=accuracy(~np.isin(np.arange(right.size), graded.missing + graded.unparsable)),
    )


def submission(
    questions: Sequence[Question], replies: Sequence[str | None]
) -> list[dict[str, object]]:
    """Records to send in for the test split, whose answers are not public.

    One a question, in question order: img_path, question, response (the raw reply, None where it
    is missing). Raises InputError where the lengths differ or a record lacks a key.
    """
    _check_lengths(questions, replies)
    records = []
    for row, (question, reply) in enumerate(zip(questions, replies, strict=True), 1):
        record = {key: question.get(key) for key in ("img_path", "question")}
        for key, value in record.items():
            if not isinstance(value, str):
                raise InputError(f"question {row}: {key} must be a string")
        records.append(record | {"response": None if _is_missing(reply) else reply})
    return records


def table_v(
    questions: Sequence[Question], results: Mapping[str, AnswerResult]
) -> dict[str, dict[str, float | None]]:
    """Table V: {model: accuracies of the types, the concerns and overall}, None where undefined.

    The first row is random guess.
    """

    def guess(rows: NDArray[np.bool_]) -> float | None:
        return random_guess([questions[i] for i in np.flatnonzero(rows).tolist()])

    by_type = _by_kind(questions, "type", TYPES, guess)
    by_concern = _by_kind(questions, "concern", CONCERNS, guess)
    return {"random guess": {**by_type, **by_concern, "overall": random_guess(questions)}} | {
        model: {**found.by_type, **found.by_concern, "overall": found.accuracy}
        for model, found in results.items()
    }


def compare_replies(
    correct_a: ArrayLike, correct_b: ArrayLike, bootstrap: Bootstrap = DEFAULT
) -> AccuracyDifference:
    """Compare two models by which of their replies are right, shape (rows,) each.

    Raises InputError where the shapes differ or there are no rows.
    """
    from scipy.special import bdtr  # the binomial distribution, without the slow scipy.stats

    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.shape != b.shape or a.ndim != 1 or a.size == 0:
        raise InputError(f"answers of shape {a.shape} and {b.shape}: the same questions are needed")
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    tail = float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)) if only_a + only_b else 1.0
    difference = a.astype(float) - b.astype(float)
    return AccuracyDifference(
        float(a.mean()),
        float(b.mean()),
        float(difference.mean()),
        bootstrap.mean_interval(difference, np.arange(a.size)),
        p_value=min(1.0, 2 * tail),
        only_a=only_a,
        only_b=only_b,
    )


def _check_lengths(questions: Sequence[Question], replies: Sequence[str | None]) -> None:
    if len(questions) != len(replies):
        raise InputError(
            f"{len(replies)} replies to {len(questions)} questions; each question needs one or null"
        )


def _is_missing(reply: object) -> bool:
    return reply is None or (isinstance(reply, float) and bool(np.isnan(reply)))


def _candidates(question: Question, row: int) -> list[str]:
    found = question.get("candidates")
    if not isinstance(found, Sequence) or isinstance(found, str) or not 2 <= len(found) <= 26:
        raise InputError(f"question {row}: candidates must be a list of 2 to 26 strings")
    return list(found)


def _by_kind(
    questions: Sequence[Question],
    key: str,
    names: Sequence[str],
    figure: Callable[[NDArray[np.bool_]], float | None],
) -> dict[str, float | None]:
    """A figure of the selected questions, for each type or each concern, which are numbers; None
    where no question has one."""
    if not any(key in question for question in questions):
        return dict.fromkeys(names)
    for row, question in enumerate(questions, 1):
        if question.get(key) not in range(len(names)):
            known = ", ".join(f"{i} {name}" for i, name in enumerate(names))
            raise InputError(f"question {row}: {key} {question.get(key)!r} is not one of {known}")
    numbers = np.array([question[key] for question in questions])
    return {name: figure(numbers == i) for i, name in enumerate(names)}
