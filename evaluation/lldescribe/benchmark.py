"""pure: LLDescribe (Q-Bench): a judge compares a model's description of an image's quality with a
golden one (Table VI).

For each image the judge scores completeness, precision and relevance 0, 1 or 2, in five rounds.
With P0, P1 and P2 the shares of these scores, a dimension's score is P1 + 2·P2, between 0 and 2,
and a model's is their sum, between 0 and 6. What the judge is told and the rule that reads its
replies are in `evaluation.lldescribe.rubric`; a judgement without a score is invalid and never taken for 0.
docs/LLDESCRIBE.md has the formats.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.intervals import check_confidence, percentiles
from evaluation.lldescribe.judge import (
    Ask,
    Endpoint,
    Outcome,
    Progress,
    Reply,
    ReplyLog,
    Sleep,
    ask_all,
)
from evaluation.lldescribe.rubric import DIMENSIONS, prompt, read_score
from qsit_ray import tables
from qsit_ray.errors import InputError

ROUNDS = 5
SCORES = (0, 1, 2)


def read_descriptions(path: Path) -> dict[str, str]:
    """{image: text} of a table with img_path (or image) and description; a null is "".

    Raises InputError as `tables.read` does, and for an image that comes twice.
    """
    table = tables.read(path)
    names = [name for name in ("img_path", "image") if name in table.names]
    if len(names) != 1:
        found = ", ".join(table.names)
        raise InputError(f"{path}: one column img_path (or image) is needed; it has {found}")
    texts = table.texts("description")
    return dict(zip(table.ids(names[0]), ((text or "").strip() for text in texts), strict=True))


def aggregate(
    scores: Mapping[str, Mapping[str, Sequence[int | None]]],
    *,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Table VI's figures of {dimension: {image: scores of its rounds, None where invalid}}.

    Returns dimensions {name: {p0, p1, p2, score, interval, judgements, invalid}}, sum and
    sum_interval. Shares are over valid judgements, null without any. Intervals resample images,
    the same ones in every dimension (null below two images). Neither the order of the images nor
    that of the rounds matters. Raises InputError for a score that is not 0, 1, 2 or None.
    """
    check_confidence(confidence)
    names = list(scores)
    images = sorted({image for by_image in scores.values() for image in by_image})
    counts = np.zeros((len(names), len(images), len(SCORES)), dtype=np.int64)
    invalid = np.zeros(len(names), dtype=np.int64)
    place = {image: i for i, image in enumerate(images)}
    for d, by_image in enumerate(scores.values()):
        for image, rounds in by_image.items():
            for score in rounds:
                if score is None:
                    invalid[d] += 1
                elif isinstance(score, bool) or score not in SCORES:
                    raise InputError(f"{names[d]} of {image!r}: score {score!r} is not 0, 1 or 2")
                else:
                    counts[d, place[image], int(score)] += 1

    points = counts @ np.array(SCORES)  # (dimensions, images)
    totals = counts.sum(axis=2)
    rng = np.random.default_rng(seed)
    resampled = np.full((2000 if len(images) > 1 else 0, len(names)), np.nan)
    with np.errstate(invalid="ignore"):  # a resample may hold no valid judgement: undefined
        for row in resampled:
            drawn = rng.integers(len(images), size=len(images))
            row[:] = points[:, drawn].sum(axis=1) / totals[:, drawn].sum(axis=1)

    found: dict[str, dict[str, Any]] = {}
    for d, name in enumerate(names):
        valid = int(totals[d].sum())
        shares = counts[d].sum(axis=0) / valid if valid else None
        found[name] = {
            **{f"p{s}": None if shares is None else float(shares[s]) for s in SCORES},
            "score": int(points[d].sum()) / valid if valid else None,
            "interval": _ends(resampled[:, d], confidence),
            "judgements": valid,
            "invalid": int(invalid[d]),
        }
    parts = [entry["score"] for entry in found.values()]
    return {
        "dimensions": found,
        "sum": math.fsum(parts) if parts and None not in parts else None,
        "sum_interval": _ends(resampled.sum(axis=1), confidence),
        "confidence": confidence,
        "images": len(images),
    }


def evaluate(
    golden: Mapping[str, str],
    described: Mapping[str, str],
    endpoint: Endpoint,
    log: ReplyLog,
    *,
    rounds: int = ROUNDS,
    prices: tuple[float, float] | None = None,
    seed: int = 0,
    confidence: float = 0.95,
    sleep: Sleep = asyncio.sleep,
    progress: Progress = lambda done, total, note: None,
) -> dict[str, Any]:
    """Judge every image that has both texts, {image: text} each, and aggregate.

    `prices`: of a million prompt and a million completion tokens. Beside `aggregate`'s figures
    returns invalid_judgements (with the judge's texts), unanswered (no reply could be had; the
    next run asks again), missing (images with one text only) and cost. Raises InputError as
    `ask_all` does, for settings out of range, and where no image has both texts.
    """
    check_confidence(confidence)
    if rounds < 1:
        raise InputError(f"rounds {rounds} must be at least 1")
    if prices and not all(math.isfinite(price) and price >= 0 for price in prices):
        raise InputError(f"prices {prices} must be numbers from 0 on")
    images = sorted(image for image in golden if golden[image] and described.get(image))
    if not images:
        raise InputError("no image has both a golden text and a description")
    asks: dict[str, Ask] = {}
    place: dict[tuple[str, str, int], str] = {}
    # Neighbours are about different images, so that a text on which the endpoint fails is not taken
    # for an endpoint that is down.
    for number, dimension, image in product(range(1, rounds + 1), DIMENSIONS, images):
        about = {"image": image, "dimension": dimension, "round": number}
        ask = Ask(prompt(golden[image], described[image], dimension), number, about)
        # Two images with the same two texts share a judgement.
        place[image, dimension, number] = key = ask.key(endpoint.model)
        asks.setdefault(key, ask)

    outcome = ask_all(endpoint, asks, log, read_score, sleep=sleep, progress=progress)

    scores: dict[str, dict[str, list[int | None]]] = {
        dimension: {image: [] for image in images} for dimension in DIMENSIONS
    }
    invalid, unanswered = [], []
    for (image, dimension, number), key in sorted(place.items()):
        here = {"image": image, "dimension": dimension, "round": number}
        replies = log.replies(key)
        score = next((reply.score for reply in replies if reply.score is not None), None)
        if key in outcome.unanswered:
            unanswered.append({**here, "reason": outcome.unanswered[key]})
            continue
        scores[dimension][image].append(score)
        if score is None:
            invalid.append({**here, "replies": [reply.text for reply in replies]})
    return {
        "judge": endpoint.model,
        "base_url": endpoint.base_url,
        "rounds": rounds,
        **aggregate(scores, seed=seed, confidence=confidence),
        "invalid": len(invalid),
        "invalid_judgements": invalid,
        "unanswered": len(unanswered),
        "unanswered_judgements": unanswered,
        "missing": {
            "without_golden": sorted(set(described) - {i for i in golden if golden[i]}),
            "without_description": sorted(set(golden) - {i for i in described if described[i]}),
        },
        "cost": cost(outcome, [reply for key in asks for reply in log.replies(key)], prices),
    }


def cost(
    outcome: Outcome, replies: Sequence[Reply], prices: tuple[float, float] | None
) -> dict[str, Any]:
    """Calls and tokens of this run, and of all replies that the result rests on.

    price is null without prices, or where a reply came without its usage: its cost isn't known.
    """
    return {
        "this_run": {
            "calls": outcome.calls,
            "calls_without_reply": outcome.failed,
            **_tokens(outcome.replies, prices),
        },
        "all_runs": _tokens(replies, prices),
    }


def _tokens(replies: Sequence[Reply], prices: tuple[float, float] | None) -> dict[str, Any]:
    asked = sum(reply.prompt_tokens or 0 for reply in replies)
    answered = sum(reply.completion_tokens or 0 for reply in replies)
    unknown = sum(None in (reply.prompt_tokens, reply.completion_tokens) for reply in replies)
    price = None
    if prices and not unknown:
        price = (asked * prices[0] + answered * prices[1]) / 1e6
    return {
        "replies": len(replies),
        "replies_without_usage": unknown,
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "price": price,
    }


def _ends(values: np.ndarray, confidence: float) -> list[float] | None:
    ends = percentiles(values, confidence)
    return list(ends) if ends else None
