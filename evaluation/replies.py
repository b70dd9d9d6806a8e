"""pure: from other people's replies to LLVisionQA's figures; no model, no Ray.

Replies come as a JSON list of texts or nulls in question order, or as a table (csv, tsv, jsonl,
parquet) with img_path and answer. Rows in messages and lists are data rows, the first is 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation import llvisionqa
from evaluation.outputs import IDS, common
from qsit_ray import tables
from qsit_ray.errors import InputError
from qsit_ray.parsing import describe_value
from qsit_ray.tables import Table

Question = Mapping[str, Any]

NO_ANSWERS = "the questions hold no correct_ans (a test split)"


@dataclass(frozen=True)
class Replies:
    """One reply a question, in question order; `given` says which questions the file speaks of.

    `unknown` are the file's image paths that no question has.
    """

    texts: list[str | None]
    given: NDArray[np.bool_]
    unknown: list[str]


def read_questions(path: Path) -> list[Question]:
    """Records of LLVisionQA's shape from .json, .json.gz or .jsonl.

    Raises InputError for another shape, with the row.
    """
    found = tables.read_json(path)
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list) or not found:
        raise InputError(f"{path}: a list of questions is needed, found {describe_value(found)}")
    for row, question in enumerate(found, start=1):
        if not isinstance(question, dict) or not isinstance(question.get("candidates"), list):
            raise InputError(
                f"{path}, row {row}: {describe_value(question)} is no question with a list of candidates"
            )
    return found


def read_replies(path: Path, questions: Sequence[Question]) -> Replies:
    """Raises InputError for a list of another length, a reply that is no text, image paths that
    repeat, and a table of which no row belongs to a question."""
    if path.name.lower().removesuffix(".gz").endswith((".json", ".jsonl", ".ndjson")):
        value = tables.read_json(path)
        if isinstance(value, list) and not any(isinstance(reply, dict) for reply in value):
            return _in_order(path, value, questions)
    table = tables.read(path)
    texts = table.texts("answer")
    keys: list[Any] = [question.get("img_path") for question in questions]
    if len(set(keys)) == len(keys):
        named: list[Any] = table.ids("img_path")
    else:
        # Several questions about one image: the question's text tells them apart.
        keys = [(question.get("img_path"), question.get("question")) for question in questions]
        asked = table.labels("question")
        named = list(zip(table.ids("img_path", within=asked), asked, strict=True))
    rows = {key: row for row, key in enumerate(named)}
    at = [rows.get(key) for key in keys]
    if all(row is None for row in at):
        raise InputError(
            f"{path}: no img_path of it belongs to a question; the first are "
            f"{named[0]!r} here and {keys[0]!r} there"
        )
    known = set(keys)
    unknown = [key if isinstance(key, str) else key[0] for key in named if key not in known]
    given = np.array([row is not None for row in at])
    return Replies([None if row is None else texts[row] for row in at], given, unknown)


def score_llvisionqa(
    questions_path: Path,
    replies_path: Path,
    *,
    rule: llvisionqa.Rule = "default",
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[dict[str, Any], list[Question], list[str | None]]:
    """(the figures, the questions, the replies in question order).

    Keys as in `llvisionqa.evaluate`, with missing and unparsable listed as records
    (`missing_replies`, `unparsable_replies`) and `unknown` image paths. Where no question has
    correct_ans every accuracy is null, with a reason. Raises InputError as the readers do.
    """
    questions = read_questions(questions_path)
    replies = read_replies(replies_path, questions)
    try:
        result = _figures(questions, replies.texts, rule, seed, confidence)
    except InputError as error:
        raise InputError(f"{questions_path} and {replies_path}: {error}") from None
    missing, unparsable = result.pop("missing_rows"), result.pop("unparsable_rows")
    result["missing_replies"] = [
        {"row": row + 1, "img_path": questions[row].get("img_path")} for row in missing
    ]
    result["unparsable_replies"] = [
        {"row": row + 1, "img_path": questions[row].get("img_path"), "reply": replies.texts[row]}
        for row in unparsable
    ]
    result |= {"unknown": len(replies.unknown), "unknown_img_paths": replies.unknown, "seed": seed}
    return result, questions, replies.texts


def compare_llvisionqa(
    a: Path,
    b: Path,
    *,
    questions_path: Path | None = None,
    rule: llvisionqa.Rule = "default",
    id_column: str | None = None,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Two files of replies, a - b, over what both answer: McNemar's test, paired bootstrap.

    With questions, the files are as for `score_llvisionqa`; an image path that a file leaves out
    is not compared, a null reply is wrong. Without, each file is a table with an id and either
    `correct` (true or false, 1 or 0) or answer, candidates and correct_ans of its own.
    """
    ids: list[list[Any]] = []
    right: list[NDArray[np.bool_]] = []
    missing: list[int] = []
    for path in (a, b):
        if questions_path is not None:
            questions = read_questions(questions_path)
            replies = read_replies(path, questions)
            correct, absent = _correct(path, questions, replies.texts, rule)
            names = [q.get("img_path", row) for row, q in enumerate(questions, start=1)]
            if len(set(names)) < len(names):
                names = [f"{name}: {q.get('question')}" for name, q in zip(names, questions)]  # noqa: B905
            at = np.flatnonzero(replies.given)
            ids.append([names[row] for row in at] + replies.unknown)
            # A reply to no question is listed as another file's id is, and never compared.
            right.append(np.concatenate([correct[at], np.zeros(len(replies.unknown), bool)]))
            missing.append(sum(bool(replies.given[row]) for row in absent))
        else:
            table = tables.read(path)
            ids.append(table.ids(id_column or table.first_of("--id COL", IDS, several=True)))
            correct, absent = _own(path, table, rule)
            right.append(correct)
            missing.append(len(absent))
    at_a, at_b, apart = common(ids[0], ids[1], a, b)
    found = llvisionqa.compare(right[0][at_a], right[1][at_b], seed=seed, confidence=confidence)
    headline = {
        "task": "llvisionqa",
        "metric": "accuracy",
        "a": found["accuracy_a"],
        "b": found["accuracy_b"],
        "p_value": found["p_mcnemar"],
        "missing_a": missing[0],
        "missing_b": missing[1],
    }
    return headline | found | apart | {"rule": rule, "seed": seed}


def _in_order(path: Path, value: list[Any], questions: Sequence[Question]) -> Replies:
    for row, reply in enumerate(value, start=1):
        if reply is not None and not isinstance(reply, str):
            raise InputError(
                f"{path}, row {row}: reply {describe_value(reply)} is no text (or null)"
            )
    if len(value) != len(questions):
        raise InputError(
            f"{path}: {len(value)} replies to {len(questions)} questions; one each is needed "
            "(or null), or records with img_path and answer"
        )
    return Replies(list(value), np.ones(len(value), dtype=bool), [])


def _figures(
    questions: Sequence[Question],
    texts: Sequence[str | None],
    rule: llvisionqa.Rule,
    seed: int,
    confidence: float,
) -> dict[str, Any]:
    """`llvisionqa.evaluate`, and for questions without answers the same keys with nulls."""
    if any(question.get("correct_ans") is not None for question in questions):
        result = llvisionqa.evaluate(questions, texts, rule=rule, seed=seed, confidence=confidence)
        return result | {"reasons": {}}
    # Any candidate may stand in: which replies are missing or unparsable doesn't go by the answer.
    stood_in = [dict(q, correct_ans=next(iter(q["candidates"]), None)) for q in questions]
    result = llvisionqa.evaluate(stood_in, texts, rule=rule, seed=seed, confidence=confidence)
    nulls = {
        "accuracy": None,
        "interval": None,
        "by_type": dict.fromkeys(result["by_type"]),
        "by_concern": dict.fromkeys(result["by_concern"]),
    }
    return result | nulls | {"reasons": {"accuracy": NO_ANSWERS}}


def _correct(
    path: Path, questions: Sequence[Question], texts: Sequence[str | None], rule: llvisionqa.Rule
) -> tuple[NDArray[np.bool_], list[int]]:
    try:
        correct, missing, _ = llvisionqa.correctness(questions, texts, rule)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return correct, missing


def _own(path: Path, table: Table, rule: llvisionqa.Rule) -> tuple[NDArray[np.bool_], list[int]]:
    """Which rows are right by a table's own account, and those without an answer."""
    if "correct" in table.names:
        told_right = {
            "true": True,
            "1": True,
            "1.0": True,
            "false": False,
            "0": False,
            "0.0": False,
        }
        cells = [str(cell).strip().lower() for cell in table.plain("correct")]
        for row, cell in enumerate(cells):
            if cell not in told_right:
                raise InputError(
                    f"{path}, {table.place(row)}, column 'correct': {cell!r} is not true or false"
                )
        return np.array([told_right[cell] for cell in cells]), []
    if not {"answer", "candidates", "correct_ans"} <= set(table.names):
        raise InputError(
            f"{path}: say --questions FILE, or give a column correct, or answer, candidates and "
            f"correct_ans; it has {', '.join(table.names)}"
        )
    columns = (table.plain("candidates"), table.plain("correct_ans"))
    questions = [{"candidates": c, "correct_ans": k} for c, k in zip(*columns, strict=True)]
    return _correct(path, questions, table.texts("answer"), rule)
