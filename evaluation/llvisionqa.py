"""pure: LLVisionQA (Q-Bench): matching replies to candidates, and accuracy by type and concern
(Table V).

The default rule is ours and is strict about doubt. A reply is matched to a candidate by the first
of these that speaks:

1. letters: the whole reply is a letter ("B", "(b)", "B."), it starts with one ("B. Low", "(B) Low",
"B - Low", "B" alone on the first line), or it names one ("the answer is B", "Option: B", a bold
"**B. Low**", "C. Noise" with its own text behind it);
2. the whole reply is a candidate's text;
3. it starts with a candidate's text and a stop ("Yes, there is");
4. it contains the text of one candidate only, as whole words and not after a negation; a text
inside a longer candidate's match does not count.

Letters that differ, a letter beyond the candidates, or a letter against another candidate's text
right behind it give None: the reply is unparsable, counts as wrong, and is listed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.intervals import check_confidence, cluster_numbers, mean_interval
from qsit_ray.errors import InputError

Rule = Literal["default", "official"]

TYPES = ("yes-or-no", "what", "how")
CONCERNS = ("distortion", "other", "in-context distortion", "in-context other")

_ONLY_LETTER = re.compile(r"\(?([A-Za-z])\)?[.):,]?")
# A bare capital may be the article "A": it needs a bracket, a stop, a dash or the end of its line
# behind it.
_LEADING_LETTER = re.compile(
    r"(?:\(([A-Z])\)|([A-Z])(?:[.):,]+(?=\s|$)|\s+-\s|\s*(?=\n|$)))[\s:.-]*"
)
_NAMED_LETTER = re.compile(
    r"\b(?:[Aa]nswer|ANSWER|[Oo]ption|[Cc]hoice)(?:\s+is)?\s*[:=]?\s*\(?([A-Z])\)?(?=[.):,\n]|\s*$)"
)
_NEGATION = re.compile(
    r"(?:\b(?:no|not|never|without|neither|nor|cannot|free (?:of|from))\b|n't\b)"
)


def match(reply: str | None, candidates: Sequence[str], rule: Rule = "default") -> int | None:
    """The candidate, from 0, that a reply means; None where it means none or more than one.

    With rule "official" it is the only candidate for which Q-SIT's published test holds (see
    `holds_official`). Raises InputError for an unknown rule or a reply that is no text.
    """
    if rule not in ("default", "official"):
        raise InputError(f"rule {rule!r} is not known; write default or official")
    if _is_missing(reply):
        return None
    if not isinstance(reply, str):
        raise InputError(f"reply {reply!r} is no text")
    if rule == "official":
        held = [i for i in range(len(candidates)) if holds_official(reply, candidates, i)]
        return held[0] if len(held) == 1 else None
    text = (
        unicodedata.normalize("NFKC", reply).replace("*", "").replace("`", "").strip().strip("\"'")
    )
    letter, spoke = _by_letter(text, candidates)
    return letter if spoke else _by_text(text, candidates)


def holds_official(reply: str, candidates: Sequence[str], index: int) -> bool:
    """Q-SIT's published test of one candidate, which may hold for several candidates of a reply.

    The reply equals its letter, contains the letter with a full stop, equals its text, or has the
    letter alone on a line.
    """
    letter = _letter(index)
    text = reply.strip()
    lines = [line.strip() for line in text.splitlines()]
    return text in (letter, candidates[index].strip()) or f"{letter}." in text or letter in lines


def random_guess(questions: Sequence[Mapping[str, Any]]) -> float | None:
    """Expected accuracy of guessing, the mean of 1 / candidates; None without questions."""
    if not questions:
        return None
    return float(np.mean([1 / len(_candidates(q, row)) for row, q in enumerate(questions)]))


def correctness(
    questions: Sequence[Mapping[str, Any]], replies: Sequence[str | None], rule: Rule = "default"
) -> tuple[NDArray[np.bool_], list[int], list[int]]:
    """Which replies are right, shape (rows,), and the rows that are missing (null) and unparsable.

    Under the official rule a reply is right where the test holds for the right candidate, whatever
    else holds too, and unparsable where it holds for none. Raises InputError, with the row (the
    first is 0), for lengths that differ and for a question without an answer among its candidates.
    """
    _check_lengths(questions, replies)
    right = np.zeros(len(questions), dtype=bool)
    missing, unparsable = [], []
    for row, (question, reply) in enumerate(zip(questions, replies, strict=True)):
        candidates = _candidates(question, row)
        if question.get("correct_ans") not in candidates:
            wrong = f"correct_ans {question.get('correct_ans')!r} is none of its candidates"
            raise InputError(f"question {row} (first is 0): {wrong}")
        answer = candidates.index(question["correct_ans"])
        if _is_missing(reply):
            missing.append(row)
            continue
        try:
            chosen = match(reply, candidates, rule)
        except InputError as error:
            raise InputError(f"question {row} (first is 0): {error}") from None
        right[row] = chosen == answer
        parsable = chosen is not None
        if rule == "official":
            held = [holds_official(str(reply), candidates, i) for i in range(len(candidates))]
            right[row], parsable = held[answer], any(held)
        if not parsable:
            unparsable.append(row)
    return right, missing, unparsable


def evaluate(
    questions: Sequence[Mapping[str, Any]],
    replies: Sequence[str | None],
    *,
    rule: Rule = "default",
    cluster: Sequence[Any] | ArrayLike | None = None,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Table V's figures. `questions`: records with type, concern, candidates and correct_ans;
    `replies` in the same order.

    Returns accuracy (null without rows), interval (bootstrap over rows, or over clusters such as
    the photograph; null below two), confidence, random_guess, by_type and by_concern {name:
    accuracy or null}, rows, missing and unparsable (counts, both wrong), missing_rows and
    unparsable_rows (row numbers, the first is 0), rule. Raises InputError as `correctness` does,
    and for a type or concern that is not known.
    """
    check_confidence(confidence)
    right, missing, unparsable = correctness(questions, replies, rule)
    clusters = cluster_numbers(cluster, right.size)
    kinds = _ids(questions, "type", TYPES)
    concerns = _ids(questions, "concern", CONCERNS)

    def accuracy(rows: NDArray[np.bool_]) -> float | None:
        return float(right[rows].mean()) if rows.any() else None

    ends = mean_interval(right, clusters, seed=seed, confidence=confidence)
    return {
        "accuracy": float(right.mean()) if right.size else None,
        "interval": list(ends) if ends else None,
        "confidence": confidence,
        "random_guess": random_guess(questions),
        "by_type": {name: accuracy(kinds == i) for i, name in enumerate(TYPES)},
        "by_concern": {name: accuracy(concerns == i) for i, name in enumerate(CONCERNS)},
        "rows": int(right.size),
        "missing": len(missing),
        "unparsable": len(unparsable),
        "missing_rows": missing,
        "unparsable_rows": unparsable,
        "rule": rule,
    }


def submission(
    questions: Sequence[Mapping[str, Any]], replies: Sequence[str | None]
) -> list[dict[str, Any]]:
    """What is sent in for the test split, whose answers are not public: outputs with image paths.

    One record a question, in question order: img_path, question, response (the reply as it came,
    null where there is none). Raises InputError where the numbers differ or a record lacks a key.
    """
    _check_lengths(questions, replies)
    for row, question in enumerate(questions):
        for key in ("img_path", "question"):
            if not isinstance(question.get(key), str):
                raise InputError(f"question {row} (first is 0): {key} must be a text")
    return [
        {
            "img_path": question["img_path"],
            "question": question["question"],
            "response": None if _is_missing(reply) else reply,
        }
        for question, reply in zip(questions, replies, strict=True)
    ]


def table_v(
    questions: Sequence[Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Table V's layout: random guess, then a row for each model of `results` (from `evaluate`).

    Keys: model, the three types, the four concerns, overall; accuracies, null where undefined.
    """
    kinds, concerns = _ids(questions, "type", TYPES), _ids(questions, "concern", CONCERNS)

    def guess(rows: NDArray[np.bool_]) -> float | None:
        return random_guess([q for q, wanted in zip(questions, rows, strict=True) if wanted])

    guesses: dict[str, Any] = {
        "by_type": {name: guess(kinds == i) for i, name in enumerate(TYPES)},
        "by_concern": {name: guess(concerns == i) for i, name in enumerate(CONCERNS)},
        "accuracy": random_guess(questions),
    }
    return [
        {
            "model": model,
            **found["by_type"],
            **found["by_concern"],
            "overall": found["accuracy"],
        }
        for model, found in ({"random guess": guesses} | dict(results)).items()
    ]


def compare(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    *,
    cluster: Sequence[Any] | ArrayLike | None = None,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Two models on the same questions, a - b. Both inputs have shape (rows,) and say which replies
    are right.

    p_mcnemar is the exact two-sided McNemar test on the questions that only one got right; it takes
    questions as independent, so with clusters trust the interval (paired bootstrap) first. Raises
    InputError where the lengths differ or there are no rows.
    """
    from scipy.special import bdtr  # the binomial distribution, without the slow scipy.stats

    check_confidence(confidence)
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.shape != b.shape or a.ndim != 1 or a.size == 0:
        raise InputError(f"answers of shape {a.shape} and {b.shape}: the same questions are needed")
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    tail = float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)) if only_a + only_b else 1.0
    difference = a.astype(float) - b.astype(float)
    clusters = cluster_numbers(cluster, a.size)
    ends = mean_interval(difference, clusters, seed=seed, confidence=confidence)
    return {
        "rows": int(a.size),
        "accuracy_a": float(a.mean()),
        "accuracy_b": float(b.mean()),
        "difference": float(difference.mean()),
        "interval": list(ends) if ends else None,
        "confidence": confidence,
        "only_a": only_a,
        "only_b": only_b,
        "p_mcnemar": min(1.0, 2 * tail),
    }


def _check_lengths(questions: Sequence[Any], replies: Sequence[Any]) -> None:
    if len(questions) != len(replies):
        raise InputError(
            f"{len(replies)} replies to {len(questions)} questions; one each is needed (or null)"
        )


def _letter(index: int) -> str:
    return chr(ord("A") + index)


def _is_missing(reply: Any) -> bool:
    return reply is None or (isinstance(reply, float) and bool(np.isnan(reply)))


def _candidates(question: Mapping[str, Any], row: int) -> list[str]:
    found = question.get("candidates")
    if not isinstance(found, Sequence) or isinstance(found, str) or not 2 <= len(found) <= 26:
        raise InputError(f"question {row} (first is 0): candidates must be a list of 2 to 26 texts")
    return list(found)


def _ids(
    questions: Sequence[Mapping[str, Any]], key: str, names: Sequence[str]
) -> NDArray[np.intp]:
    for row, question in enumerate(questions):
        if question.get(key) not in range(len(names)):
            known = ", ".join(f"{i} {name}" for i, name in enumerate(names))
            raise InputError(
                f"question {row} (first is 0): {key} {question.get(key)!r} is not one of {known}"
            )
    return np.array([question[key] for question in questions], dtype=np.intp)


def _by_letter(text: str, candidates: Sequence[str]) -> tuple[int | None, bool]:
    """The candidate named by a letter, and whether any letter form is there at all."""
    alone = _ONLY_LETTER.fullmatch(text)
    # A candidate may itself be one letter long; then its text decides.
    if alone and text.casefold() not in [c.casefold() for c in candidates]:
        letters = {alone[1].upper()}
    else:
        leading = _LEADING_LETTER.match(text)
        letters = {leading[1] or leading[2]} if leading else set()
        letters |= {found[1] for found in _NAMED_LETTER.finditer(text)}
        for i, candidate in enumerate(candidates):
            option = rf"(?<!\w)\(?{_letter(i)}\)?[.):]\s*{re.escape(candidate.strip())}(?!\w)"
            if re.search(option, text, re.IGNORECASE):
                letters.add(_letter(i))
        if leading:
            behind = _starts_with(text[leading.end() :], candidates)
            letters |= {_letter(behind)} if behind is not None else set()
    if not letters:
        return None, False
    index = ord(letters.pop()) - ord("A")
    return (index, True) if not letters and index < len(candidates) else (None, True)


def _by_text(text: str, candidates: Sequence[str]) -> int | None:
    wanted = [_plain(candidate) for candidate in candidates]
    if (reply := _plain(text)) in wanted:
        return wanted.index(reply) if wanted.count(reply) == 1 else None
    if (start := _starts_with(text, candidates)) is not None:
        return start
    # Longest first, blanking what matched: "blur" inside "motion blur" is then no second answer.
    rest, found = reply, set()
    for i in sorted(range(len(wanted)), key=lambda i: -len(wanted[i])):
        pattern = rf"(?<!\w){re.escape(wanted[i])}(?!\w)"
        for hit in re.finditer(pattern, rest):
            before = " ".join(reply[: hit.start()].split()[-4:])
            if _NEGATION.search(before.rpartition(".")[2]) and wanted[i] not in ("yes", "no"):
                return None
            found.add(i)
        rest = re.sub(pattern, lambda hit: "\0" * len(hit[0]), rest)
    return found.pop() if len(found) == 1 else None


def _starts_with(text: str, candidates: Sequence[str]) -> int | None:
    """The one candidate whose text the reply starts with, a stop or the end behind it."""
    held = [
        i
        for i, candidate in enumerate(candidates)
        if re.match(
            rf"{re.escape(candidate.strip())}(?=\s*[.,;:!\n]|\s+-\s|\s*$)",
            text.lstrip(),
            re.IGNORECASE,
        )
    ]
    return held[0] if len(held) == 1 else None


def _plain(text: str) -> str:
    """Casefolded, blanks single, without surrounding quotes and final stops."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).strip("\"' ").rstrip(".!;:, ")
