"""pure: predictions of a run's models on test images and questions, as its report shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.data.catalog import Question
from qsit_ray.errors import InputError
from qsit_ray.evaluation.matching import match


@dataclass(frozen=True)
class ScoredImage:
    """A test image with its predicted score, whose standard deviation is in levels, and its label.

    `level_shares`: probabilities of the five levels, worst first; None in predictions from before
    they were recorded.
    """

    name: str
    dataset: str
    photograph: str
    truth: float
    score: float
    std: float
    rank_key: float
    level_shares: tuple[float, ...] | None


@dataclass(frozen=True)
class AnsweredQuestion:
    """A test question with the model's reply; `question`: its record, None where the catalog has
    it no more. `candidate_shares`: probability of each candidate, None as above."""

    number: int
    text: str
    correct: str
    reply: str | None
    right: bool
    question: Question | None
    candidate_shares: tuple[float, ...] | None


@dataclass(frozen=True)
class Predictions:
    """Of one model, in the order of the benchmarks."""

    images: tuple[ScoredImage, ...]
    questions: tuple[AnsweredQuestion, ...]


def read(run: RunFolder, source: str) -> dict[str, Predictions]:
    """Predictions by model; none where the run has not been evaluated. `source`: the dataset of
    images that name none.

    Raises InputError naming a file that can't be read.
    """
    path = run.evaluation / "predictions.parquet"
    if not path.exists():
        return {}
    try:
        rows = pq.read_table(path).to_pylist()
        asked = _questions(run)
        models = dict.fromkeys(row["model"] for row in rows)
        return {
            model: Predictions(
                tuple(_image(r, source) for r in rows if _is(r, model, "iqa")),
                tuple(_answer(r, asked) for r in rows if _is(r, model, "llvisionqa")),
            )
            for model in models
        }
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: can't read the predictions: {error}") from None


def _is(row: Mapping[str, Any], model: str, benchmark: str) -> bool:
    return bool(row["model"] == model and row["benchmark"] == benchmark)


def _image(row: Mapping[str, Any], source: str) -> ScoredImage:
    shares = row.get("level_shares")
    return ScoredImage(
        row["id"],
        row["dataset"] or source,
        str(row["photograph"]),
        row["truth"],
        row["score"],
        row["std"],
        row["rank_key"],
        None if shares is None else tuple(shares),
    )


def _answer(row: Mapping[str, Any], asked: Sequence[Question]) -> AnsweredQuestion:
    number, text, correct, reply = int(row["id"]), row["question"], row["correct_ans"], row["reply"]
    known = asked[number] if number < len(asked) else None
    if known is not None and known["question"] != text:
        known = None  # of another catalog
    right = reply == correct
    if known is not None and reply is not None:
        candidates = known["candidates"]
        chosen = match(reply, candidates)
        right = chosen is not None and candidates[chosen] == correct
    shares = row.get("candidate_shares")
    kept = None if shares is None else tuple(shares)
    return AnsweredQuestion(number, text, correct, reply, right, known, kept)


def _questions(run: RunFolder) -> list[Question]:
    path = run.catalog / "benchmarks" / "test" / "llvisionqa.json"
    found: list[Question] = artifacts.read_json(path) if path.exists() else []
    return found
