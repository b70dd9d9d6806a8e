"""pure: LLDescribe (Q-Bench): a judge compares descriptions of images' quality with golden ones.

Table VI of the paper. For each image the judge scores completeness, precision and relevance 0, 1 or
2, in five rounds. With P0, P1 and P2 the shares of these scores, a dimension's score is
P1 + 2·P2, between 0 and 2, and a model's is their sum, between 0 and 6. The prompts and the rule
that reads replies are in `evaluation.lldescribe.rubric`; a judgement without a score is invalid and
never counts as 0. docs/LLDESCRIBE.md has the formats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np

from qsit_ray import tables
from qsit_ray.endpoint import Endpoint
from qsit_ray.errors import InputError
from qsit_ray.evaluation.intervals import DEFAULT, Bootstrap, Interval, resampled_clusters
from qsit_ray.evaluation.lldescribe.judge import Progress, Question
from qsit_ray.evaluation.lldescribe.log import Reply, ReplyLog
from qsit_ray.evaluation.lldescribe.rubric import DIMENSIONS, prompt

ROUNDS = 5
SCORES = (0, 1, 2)


@dataclass(frozen=True)
class DimensionScore:
    """One dimension: shares of the scores among valid judgements (None without any), P1 + 2·P2 and
    its interval, and the numbers of valid and of invalid judgements."""

    p0: float | None
    p1: float | None
    p2: float | None
    score: float | None
    interval: Interval | None
    judgements: int
    invalid: int


@dataclass(frozen=True)
class Scores:
    """A row of Table VI. `sum` is None where a dimension has no valid judgement."""

    dimensions: dict[str, DimensionScore]
    sum: float | None
    sum_interval: Interval | None
    confidence: float
    images: int


@dataclass(frozen=True)
class Usage:
    """Replies and their tokens. `price` is None without prices, or where a reply has no usage."""

    replies: int
    replies_without_usage: int
    prompt_tokens: int
    completion_tokens: int
    price: float | None

    @classmethod
    def of(cls, replies: Sequence[Reply], prices: tuple[float, float] | None) -> Usage:
        asked = sum(reply.prompt_tokens or 0 for reply in replies)
        answered = sum(reply.completion_tokens or 0 for reply in replies)
        unknown = sum(None in (reply.prompt_tokens, reply.completion_tokens) for reply in replies)
        price = None
        if prices and not unknown:
            price = (asked * prices[0] + answered * prices[1]) / 1e6
        return cls(len(replies), unknown, asked, answered, price)


@dataclass(frozen=True)
class Judged:
    """The result of `judge_descriptions`. `invalid`: the texts of replies without a score;
    `unanswered`: the reason. `calls` and `this_run` are of this run, `all_runs` is the usage of all
    replies that the result rests on; images with one text only are listed."""

    endpoint: Endpoint
    rounds: int
    scores: Scores
    invalid: dict[Question, list[str]]
    unanswered: dict[Question, str]
    without_golden: list[str]
    without_description: list[str]
    calls: int
    this_run: Usage
    all_runs: Usage
    replies: Path

    @property
    def calls_without_reply(self) -> int:
        return self.calls - self.this_run.replies

    def to_json(self) -> dict[str, object]:
        calls = {"calls": self.calls, "calls_without_reply": self.calls_without_reply}
        return {
            "judge": self.endpoint.model,
            "base_url": self.endpoint.base_url,
            "rounds": self.rounds,
            **asdict(self.scores),
            "invalid": len(self.invalid),
            "invalid_judgements": [{**q.place, "replies": r} for q, r in self.invalid.items()],
            "unanswered": len(self.unanswered),
            "unanswered_judgements": [{**q.place, "reason": r} for q, r in self.unanswered.items()],
            "missing": {
                "without_golden": self.without_golden,
                "without_description": self.without_description,
            },
            "cost": {
                "this_run": {**calls, **asdict(self.this_run)},
                "all_runs": asdict(self.all_runs),
            },
            "replies": str(self.replies),
        }


def read_descriptions(path: Path) -> dict[str, str]:
    """{image: text} of a table with img_path (or image) and description; null becomes "".

    Raises InputError as `tables.read` does, and for an image that occurs twice.
    """
    table = tables.read(path)
    names = [name for name in ("img_path", "image") if name in table.names]
    if len(names) != 1:
        found = ", ".join(table.names)
        raise InputError(f"{path}: one column img_path (or image) is needed; it has {found}")
    texts = table.texts("description")
    return dict(zip(table.ids(names[0]), ((text or "").strip() for text in texts), strict=True))


def aggregate(
    scores: Mapping[str, Mapping[str, Sequence[int | None]]], bootstrap: Bootstrap = DEFAULT
) -> Scores:
    """A row of Table VI from {dimension: {image: scores of its rounds, None where invalid}}.

    Intervals resample images, the same ones in every dimension (None below two images). The result
    does not depend on the order of images or rounds. Raises InputError for a score that is not
    0, 1, 2 or None.
    """
    names = list(scores)
    images = sorted({image for by_image in scores.values() for image in by_image})
    place = {image: i for i, image in enumerate(images)}
    every = np.zeros((len(names), len(images), len(SCORES) + 1), dtype=np.int64)  # last: invalid
    for d, by_image in enumerate(scores.values()):
        for image, rounds in by_image.items():
            for score in rounds:
                if score is not None and (isinstance(score, bool) or score not in SCORES):
                    raise InputError(f"{names[d]} of {image!r}: score {score!r} is not 0, 1 or 2")
                every[d, place[image], -1 if score is None else int(score)] += 1

    counts, invalid = every[..., :-1], every[..., -1].sum(axis=1)
    points = counts @ np.array(SCORES)  # (dimensions, images)
    totals = counts.sum(axis=2)
    with np.errstate(invalid="ignore"):  # a resample without a valid judgement is undefined
        resampled = np.array(
            [
                points[:, drawn].sum(axis=1) / totals[:, drawn].sum(axis=1)
                for drawn in resampled_clusters(len(images), bootstrap.seed)
            ]
        ).reshape(-1, len(names))

    dimensions = {}
    for d, name in enumerate(names):
        valid = int(totals[d].sum())
        p0, p1, p2 = (counts[d].sum(axis=0) / valid).tolist() if valid else (None, None, None)
        dimensions[name] = DimensionScore(
            *(p0, p1, p2),
            score=int(points[d].sum()) / valid if valid else None,
            interval=bootstrap.percentiles(resampled[:, d]),
            judgements=valid,
            invalid=int(invalid[d]),
        )
    found = [entry.score for entry in dimensions.values() if entry.score is not None]
    return Scores(
        dimensions=dimensions,
        sum=math.fsum(found) if found and len(found) == len(names) else None,
        sum_interval=bootstrap.percentiles(resampled.sum(axis=1)),
        confidence=bootstrap.confidence,
        images=len(images),
    )


def judge_descriptions(
    golden: Mapping[str, str],
    described: Mapping[str, str],
    endpoint: Endpoint,
    log: ReplyLog,
    *,
    rounds: int = ROUNDS,
    prices: tuple[float, float] | None = None,
    bootstrap: Bootstrap = DEFAULT,
    progress: Progress = lambda done, total, note: None,
) -> Judged:
    """Judge every image that has both texts, {image: text} each, and aggregate.

    `prices`: of a million prompt and of a million completion tokens. Raises InputError as `ask_all`
    does, for settings out of range, where no image has both texts, and without the package
    `openai`.
    """
    try:
        from qsit_ray.evaluation.lldescribe.client import ask_all
    except ImportError as error:
        message = f"a judge is asked through the package openai: install qsit_ray[judge] ({error})"
        raise InputError(message) from None
    if rounds < 1:
        raise InputError(f"rounds {rounds} must be at least 1")
    if prices and not all(math.isfinite(price) and price >= 0 for price in prices):
        raise InputError(f"prices {prices} must be numbers from 0 on")
    images = sorted(image for image in golden if golden[image] and described.get(image))
    if not images:
        raise InputError("no image has both a golden text and a description")
    # Neighbours are about different images, so that a text on which the endpoint fails is not taken
    # for an endpoint that is down.
    judgements = [
        Question(image, dimension, number, prompt(golden[image], described[image], dimension))
        for number, dimension, image in product(range(1, rounds + 1), DIMENSIONS, images)
    ]
    questions: dict[str, Question] = {}
    for question in judgements:  # two images with the same two texts share a key
        questions.setdefault(question.key(endpoint.model), question)

    run = ask_all(endpoint, questions, log, progress)

    scores: dict[str, dict[str, list[int | None]]] = {
        dimension: {image: [] for image in images} for dimension in DIMENSIONS
    }
    invalid, unanswered = {}, {}
    for question in sorted(judgements):
        key = question.key(endpoint.model)
        if key in run.unanswered:
            unanswered[question] = run.unanswered[key]
            continue
        scores[question.dimension][question.image].append(log.score(key))
        if log.score(key) is None:
            invalid[question] = [reply.text for reply in log.replies(key)]
    return Judged(
        endpoint=endpoint,
        rounds=rounds,
        scores=aggregate(scores, bootstrap),
        invalid=invalid,
        unanswered=unanswered,
        without_golden=sorted(set(described) - {i for i in golden if golden[i]}),
        without_description=sorted(set(golden) - {i for i in described if described[i]}),
        calls=run.calls,
        this_run=Usage.of(run.replies, prices),
        all_runs=Usage.of([r for key in questions for r in log.replies(key)], prices),
        replies=log.path,
    )
