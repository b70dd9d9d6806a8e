"""pure: LLVisionQA's figures from other people's replies; no model, no Ray.

Replies come as a JSON list of strings or nulls in question order, as a table (csv, tsv, jsonl,
parquet) with img_path and answer, or with their questions, as `evaluation.harnesses` reads them.
Rows count from 1, without the header.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qsit_ray import reading, tables
from qsit_ray.errors import InputError
from qsit_ray.evaluation import harnesses, llvisionqa
from qsit_ray.evaluation.intervals import DEFAULT, Bootstrap
from qsit_ray.evaluation.llvisionqa import AnswerResult, Graded, Question, Rule
from qsit_ray.evaluation.outputs import IDS, FileComparison, common_ids
from qsit_ray.parsing import describe_value
from qsit_ray.tables import Table

# The column of replies: ours, Q-Bench's, and LLaVA's.
ANSWERS = ("answer", "response", "text")
NO_ANSWERS = "the questions hold no correct_ans (a test split)"
NO_KIND = "the file does not tell them"
CORRECT = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


@dataclass(frozen=True)
class Replies:
    """One reply a question, in question order.

    `given`: shape (questions,), the questions that the file has a row for. `unknown`: the file's
    image paths that no question has.
    """

    texts: list[str | None]
    given: NDArray[np.bool_]
    unknown: list[str]


@dataclass(frozen=True)
class ScoredReplies:
    """The figures of a file of replies, with the questions and the replies in question order."""

    result: AnswerResult
    reasons: dict[str, str]
    questions: list[Question]
    replies: Replies
    seed: int

    def to_json(self) -> dict[str, object]:
        content = self.result.to_json()
        del content["missing_rows"], content["unparsable_rows"]
        paths, texts = [q.get("img_path") for q in self.questions], self.replies.texts
        return content | {
            "reasons": self.reasons,
            "missing_replies": [
                {"row": i + 1, "img_path": paths[i]} for i in self.result.missing_rows
            ],
            "unparsable_replies": [
                {"row": i + 1, "img_path": paths[i], "reply": texts[i]}
                for i in self.result.unparsable_rows
            ],
            "unknown": len(self.replies.unknown),
            "unknown_img_paths": self.replies.unknown,
            "seed": self.seed,
        }


def read_questions(path: Path) -> list[Question]:
    """Records of LLVisionQA's shape from .json, .json.gz or .jsonl.

    Raises InputError for another shape, with the row.
    """
    found = reading.read_values(path)
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list) or not found:
        raise InputError(f"{path}: expected a list of questions, got {describe_value(found)}")
    for row, question in enumerate(found, start=1):
        if not isinstance(question, dict) or not isinstance(question.get("candidates"), list):
            raise InputError(
                f"{path}, row {row}: expected a question with a list of candidates, "
                f"got {describe_value(question)}"
            )
    return found


def read_replies(path: Path, questions: Sequence[Question]) -> Replies:
    """Raises InputError for a list of another length, a reply that is not a string, image paths
    that repeat, and a table of which no row belongs to a question."""
    if path.name.lower().removesuffix(".gz").endswith((".json", ".jsonl", ".ndjson")):
        value = reading.read_values(path)
        if isinstance(value, list) and not any(isinstance(reply, dict) for reply in value):
            return _replies_in_order(path, value, len(questions))
    table = tables.read(path)
    column = next((name for name in ANSWERS if name in table.names), None)
    if column is None:
        raise InputError(
            f"{path}: none of the columns {', '.join(ANSWERS)}; it has {', '.join(table.names)}"
        )
    texts = table.texts(column)
    keys: list[object] = [question.get("img_path") for question in questions]
    if len(set(keys)) == len(keys):
        paths = table.ids("img_path")
        named: list[object] = [*paths]
    else:
        # Several questions about one image: the question's text tells them apart.
        keys = [(question.get("img_path"), question.get("question")) for question in questions]
        asked = table.labels("question")
        paths = table.ids("img_path", within=asked)
        named = [*zip(paths, asked, strict=True)]
    indices = {key: index for index, key in enumerate(named)}
    at = [indices.get(key) for key in keys]
    if all(index is None for index in at):
        raise InputError(
            f"{path}: none of its img_path belongs to a question; the first are "
            f"{named[0]!r} here and {keys[0]!r} in the questions"
        )
    known = set(keys)
    return Replies(
        [None if index is None else texts[index] for index in at],
        np.array([index is not None for index in at]),
        [name for name, key in zip(paths, named, strict=True) if key not in known],
    )


def _replies_in_order(path: Path, value: list[str | None], questions: int) -> Replies:
    for row, reply in enumerate(value, start=1):
        if reply is not None and not isinstance(reply, str):
            raise InputError(
                f"{path}, row {row}: expected a string or null, got {describe_value(reply)}"
            )
    if len(value) != questions:
        raise InputError(
            f"{path}: {len(value)} replies to {questions} questions; each question needs one or "
            "null, or give records with img_path and answer"
        )
    return Replies(list(value), np.ones(len(value), dtype=bool), [])


def _with_questions(questions_path: Path | None, path: Path) -> tuple[list[Question], Replies]:
    """The questions and a file's replies to them. Raises InputError where neither file holds the
    questions, or both do."""
    own = harnesses.read(path)
    if questions_path is None:
        if own is None:
            raise InputError(
                f"{path}: give --questions FILE; only outputs of lmms-eval and of VLMEvalKit hold "
                "their questions"
            )
        return own.questions, Replies(own.texts, np.ones(len(own.ids), dtype=bool), [])
    if own is not None:
        raise InputError(f"{path}: it holds its own questions; leave --questions out")
    questions = read_questions(questions_path)
    return questions, read_replies(path, questions)


def score_llvisionqa(
    questions_path: Path | None,
    replies_path: Path,
    *,
    rule: Rule = "default",
    bootstrap: Bootstrap = DEFAULT,
) -> ScoredReplies:
    """Grade a file of replies. The bootstrap draws images, with all their questions. Outputs of
    lmms-eval and of VLMEvalKit need no `questions_path`.

    Where no question has correct_ans every accuracy is None, with a reason, and so are those of the
    types and the concerns where the file does not tell these. Raises InputError as the readers and
    `llvisionqa.grade_replies` do.
    """
    questions, replies = _with_questions(questions_path, replies_path)
    answered = any(question.get("correct_ans") is not None for question in questions)
    # Any answer will do: missing and unparsable replies do not depend on it.
    graded = questions if answered else [{**q, "correct_ans": _first(q)} for q in questions]
    try:
        images = [str(question.get("img_path", row)) for row, question in enumerate(questions)]
        several = len(set(images)) < len(images)
        result = llvisionqa.grade_replies(
            graded,
            replies.texts,
            rule=rule,
            cluster=images if several else None,
            bootstrap=bootstrap,
        )
    except InputError as error:
        files = " and ".join(str(path) for path in (questions_path, replies_path) if path)
        raise InputError(f"{files}: {error}") from None
    reasons = {
        f"by_{kind}": NO_KIND
        for kind in ("type", "concern")
        if not any(kind in question for question in questions)
    }
    if answered:
        return ScoredReplies(result, reasons, questions, replies, bootstrap.seed)
    by_type, by_concern = dict.fromkeys(result.by_type), dict.fromkeys(result.by_concern)
    result = replace(
        result,
        accuracy=None,
        interval=None,
        by_type=by_type,
        by_concern=by_concern,
        of_parsed=None,
    )
    reasons = {"accuracy": NO_ANSWERS, **reasons}
    return ScoredReplies(result, reasons, questions, replies, bootstrap.seed)


def _first(question: Question) -> object:
    candidates = question["candidates"]
    return candidates[0] if isinstance(candidates, list) and candidates else None


def compare_llvisionqa(
    a: Path,
    b: Path,
    *,
    questions_path: Path | None = None,
    rule: Rule = "default",
    id_column: str | None = None,
    bootstrap: Bootstrap = DEFAULT,
) -> FileComparison:
    """Compare two files of replies; the headline is accuracy.

    With questions, the files are as for `score_llvisionqa`; an image path that a file leaves out
    is not compared, a null reply is wrong. Without, each file is an output of lmms-eval or of
    VLMEvalKit, or a table with an id and either `correct` (true or false, 1 or 0) or its own
    answer, candidates and correct_ans.
    """
    if questions_path is None:
        graded = [_grade_table(path, rule, id_column) for path in (a, b)]
    else:
        graded = [_grade_replies(path, questions_path, rule) for path in (a, b)]
    (ids_a, right_a, missing_a), (ids_b, right_b, missing_b) = graded
    ids = common_ids(ids_a, ids_b, a, b)
    right_a, right_b = right_a[ids.at_a], right_b[ids.at_b]
    found = llvisionqa.compare_replies(right_a, right_b, bootstrap)
    content = {
        "task": "llvisionqa",
        "metric": "accuracy",
        "a": found.a,
        "b": found.b,
        "p_value": found.p_value,
        "missing_a": missing_a,
        "missing_b": missing_b,
        "rows": right_a.size,
        "accuracy_a": found.a,
        "accuracy_b": found.b,
        "difference": found.difference,
        "interval": found.interval,
        "confidence": bootstrap.confidence,
        "only_a": found.only_a,
        "only_b": found.only_b,
        "p_mcnemar": found.p_value,
        **ids.to_json(),
        "rule": rule,
        "seed": bootstrap.seed,
    }
    return FileComparison(right_a.size, {"accuracy": found}, ids, content)


_Graded = tuple[list[object], NDArray[np.bool_], int]
"""Ids, which of their replies are right, and the number of missing replies."""


def _grade_replies(path: Path, questions_path: Path, rule: Rule) -> _Graded:
    questions, replies = _with_questions(questions_path, path)
    graded = _grade(path, questions, replies.texts, rule)
    names = [question.get("img_path", row) for row, question in enumerate(questions, 1)]
    if len(set(names)) < len(names):
        names = [f"{name}: {q.get('question')}" for name, q in zip(names, questions, strict=True)]
    at = np.flatnonzero(replies.given)
    # A reply to no question is listed as another file's id is, and never compared.
    right = np.concatenate([graded.right[at], np.zeros(len(replies.unknown), bool)])
    missing = sum(bool(replies.given[index]) for index in graded.missing)
    return [*(names[index] for index in at), *replies.unknown], right, missing


def _grade_table(path: Path, rule: Rule, id_column: str | None) -> _Graded:
    own = harnesses.read(path)
    if own is not None:
        if id_column is not None:
            raise InputError(f"{path}: holds its own ids (doc_id or index); leave --id out")
        graded = _grade(path, own.questions, own.texts, rule)
        # Two programs may give one number to different questions.
        asked = zip(own.ids, own.questions, strict=True)
        names = [f"{name}: {question['question']}" for name, question in asked]
        return [*names], graded.right, len(graded.missing)
    table = tables.read(path)
    ids: list[object] = list(table.ids(id_column or table.first_of("--id COL", IDS, several=True)))
    if "correct" in table.names:
        return ids, _correct_column(table), 0
    if not {"answer", "candidates", "correct_ans"} <= set(table.names):
        raise InputError(
            f"{path}: give --questions FILE, or a column correct, or answer, candidates and "
            f"correct_ans; it has {', '.join(table.names)}"
        )
    columns = (table.plain("candidates"), table.plain("correct_ans"))
    questions = [{"candidates": c, "correct_ans": k} for c, k in zip(*columns, strict=True)]
    graded = _grade(path, questions, table.texts("answer"), rule)
    return ids, graded.right, len(graded.missing)


def _grade(
    path: Path, questions: Sequence[Question], texts: Sequence[str | None], rule: Rule
) -> Graded:
    try:
        return llvisionqa.grade(questions, texts, rule)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _correct_column(table: Table) -> NDArray[np.bool_]:
    cells = [str(cell).strip().lower() for cell in table.plain("correct")]
    for row, cell in enumerate(cells):
        if cell not in CORRECT:
            raise InputError(
                f"{table.path}, {table.place(row)}, column 'correct': "
                f"expected true or false, got {cell!r}"
            )
    return np.array([CORRECT[cell] for cell in cells])
