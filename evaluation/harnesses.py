"""pure: outputs of lmms-eval and VLMEvalKit that hold their questions beside the replies.

lmms-eval's `--log_samples` writes a line a question: doc_id, target and filtered_resps; until 0.4
`doc` with option0 to option3 ("N/A" where there are fewer), since then `input`, the prompt, in
which each option is a line. VLMEvalKit writes a table: index, question, A to D, answer, prediction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from qsit_ray import reading, tables
from qsit_ray.errors import InputError
from qsit_ray.evaluation.llvisionqa import Question
from qsit_ray.parsing import describe_value
from qsit_ray.tables import Table

_OPTION = re.compile(r"([A-Z])\. (.*)")
_NUMBERS = {"type": "question_type", "concern": "question_concern"}
"""Q-Bench's numbers of a question, and what lmms-eval calls them."""
_METRICS = ("qbench_acc", "abench_acc")
"""What lmms-eval's tasks of Q-Bench and A-Bench keep of a question."""
_FAILED = "Failed to obtain answer"
"""VLMEvalKit's prediction where a model's endpoint gave none."""
_COLUMNS = {"index", "question", "A", "B", "prediction"}


@dataclass(frozen=True)
class Output:
    """Questions and replies, None where one is missing, in the file's order; `ids` are unique."""

    ids: list[str]
    questions: list[Question]
    texts: list[str | None]


def read(path: Path) -> Output | None:
    """The questions and replies of a file; None where it is of neither kind.

    Raises InputError naming the row of a question without options, without an id, or whose right
    letter is none of its options; and for an id that occurs twice.
    """
    if path.name.lower().removesuffix(".gz").endswith((".json", ".jsonl", ".ndjson")):
        value = reading.read_values(path)
        value = value.get("logs", value) if isinstance(value, dict) else value
        records = isinstance(value, list) and all(isinstance(each, dict) for each in value)
        if not value or not records:
            return None
        if "doc_id" in value[0] and "filtered_resps" in value[0]:
            return _of_samples(path, value)
    table = tables.read(path)
    return _of_table(table) if set(table.names) >= _COLUMNS else None


def _of_samples(path: Path, records: Sequence[Mapping[str, Any]]) -> Output:
    rows: dict[str, int] = {}
    questions, texts = [], []
    for row, record in enumerate(records, start=1):
        place = f"{path}, row {row} (doc_id {record.get('doc_id')})"
        name = record.get("doc_id")
        if not isinstance(name, int | str):
            raise InputError(f"{place}: no doc_id")
        if str(name) in rows:
            raise InputError(f"{path}, id {str(name)!r} is in row {rows[str(name)]} and row {row}")
        rows[str(name)] = row
        questions.append(_of_sample(record, place))
        texts.append(_only_reply(record.get("filtered_resps"), place))
    return Output(list(rows), questions, texts)


def _of_sample(record: Mapping[str, Any], place: str) -> Question:
    doc = record.get("doc") or {}
    metric: Any = next((record[name] for name in _METRICS if name in record), {})
    if not (isinstance(doc, Mapping) and isinstance(metric, Mapping)):
        raise InputError(f"{place}: doc and {', '.join(_METRICS)} must be objects")
    if doc:
        text, options = doc.get("question"), [doc.get(f"option{n}") for n in range(4)]
        kept = [str(option) for option in options if option not in (None, "N/A")]
    else:
        text, kept = _split_prompt(record.get("input"))
    if not isinstance(text, str) or len(kept) < 2:
        raise InputError(f"{place}: no options, neither doc.option0 … nor lines 'A. …' of input")
    target = record.get("target")
    letter = doc.get("correct_choice") if target in (None, "", "None") else target
    question = {"question": text, "candidates": kept, **_answer(letter, kept, place)}
    for ours, theirs in _NUMBERS.items():
        number = doc.get(theirs, metric.get(theirs))
        if number is not None:
            question[ours] = number
    return question


def _split_prompt(prompt: Any) -> tuple[str | None, list[str]]:
    """The question, and the options of the last run of lines that begin with A., B., ..."""
    lines = prompt.split("\n") if isinstance(prompt, str) else []
    starts = [at for at, line in enumerate(lines) if line.startswith("A. ")]
    if not starts:
        return None, []
    options: list[str] = []
    rest = lines[starts[-1] :]
    for line in rest:
        found = _OPTION.fullmatch(line)
        if found is None or found[1] != ascii_uppercase[len(options)]:
            break
        options.append(found[2])
    # An option of several lines: those after it would be lost.
    following = f"{ascii_uppercase[len(options)]}. "
    if any(line.startswith(following) for line in rest[len(options) :]):
        return None, []
    return "\n".join(lines[: starts[-1]]), options


def _only_reply(value: Any, place: str) -> str | None:
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None or isinstance(value, str):
        return value
    raise InputError(f"{place}: expected one reply, got {describe_value(value)}")


def _of_table(table: Table) -> Output:
    ids, asked = table.ids("index"), table.labels("question")
    # An image's name where the file has one: intervals draw images.
    paths = table.labels("image_path") if "image_path" in table.names else None
    letters = [letter for letter in ascii_uppercase if letter in table.names]
    options = list(zip(*(table.plain(letter) for letter in letters), strict=True))
    answers = table.plain("answer") if "answer" in table.names else [None] * table.rows
    questions: list[Question] = []
    for row, text in enumerate(asked):
        place = f"{table.path}, {table.place(row)}"
        kept = [_text(option) for option in options[row]]
        while kept and kept[-1] is None:
            kept.pop()
        if len(kept) < 2 or None in kept:
            gap = letters[kept.index(None) if None in kept else len(kept)]
            raise InputError(f"{place}: an option {gap} is missing")
        found = {"question": text, "candidates": kept, **_answer(answers[row], kept, place)}
        questions.append(found | ({} if paths is None else {"img_path": paths[row]}))
    texts = [_text(value) for value in table.plain("prediction")]
    failed = [None if text is None or text.startswith(_FAILED) else text for text in texts]
    return Output(ids, questions, failed)


def _answer(letter: Any, candidates: Sequence[str | None], place: str) -> dict[str, object]:
    """`correct_ans` of a letter; nothing where there is none, as in a test split."""
    if _text(letter) is None:
        return {}
    known = ascii_uppercase[: len(candidates)]
    at = known.find(str(letter).strip())
    if at < 0 or len(str(letter).strip()) != 1:
        raise InputError(f"{place}: {letter!r} is none of its options A to {known[-1]}")
    return {"correct_ans": candidates[at]}


def _text(value: Any) -> str | None:
    """A cell as text; None where it is empty."""
    if value is None or value != value or str(value).strip() == "":  # noqa: PLR0124 (NaN)
        return None
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)
