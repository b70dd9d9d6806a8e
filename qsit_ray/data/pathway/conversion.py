"""pure: the rows of D2 that replies give, and what a conversion costs.

pathway.json           the feedbacks themselves
what_how.json          questions with short answers
multiple_choice.json   the same with four options
yes_no.json            as many with yes as with no
conversation.json      several turns on one of five themes
rejects.jsonl          what has become no row, with the reason
replies/               every reply of the model
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qsit_ray import artifacts
from qsit_ray.data.pathway import questions
from qsit_ray.data.pathway.feedbacks import Feedbacks
from qsit_ray.data.pathway.questions import ROWS, Made, Request
from qsit_ray.data.pathway.replies import REJECTED, Replies
from qsit_ray.endpoint import Completion, Endpoint
from qsit_ray.errors import InputError
from qsit_ray.prompts import CHOICE

TOKENS = {"what_how": 120, "yes_no": 30, "conversation": 220}
"""Tokens of a reply by kind, for an estimate before there is any reply."""
LETTERS = 4.0
"""Letters of English text to a token, for an estimate."""
SURPLUS = "set aside: as many questions are to be answered with yes as with no"


def settled(request: Request, replies: Sequence[Completion], asks: int) -> bool:
    """Whether a request is asked no more: it has a valid reply, or `asks` replies."""
    return len(replies) >= asks or _first_valid(request, replies)[0] is not None


def pending(
    requests: Sequence[Request], replies: Replies, endpoint: Endpoint
) -> dict[str, Request]:
    """The requests that are not settled, by the key of their replies; equal ones once."""
    keyed = {request.key(endpoint.model): request for request in requests}
    return {
        key: request
        for key, request in keyed.items()
        if not settled(request, replies.of(key), endpoint.asks)
    }


@dataclass(frozen=True)
class Estimate:
    """What a conversion still costs. `calls`: at least so many; tokens are estimated from letters,
    and of the replies from those that are there."""

    requests: int
    calls: int
    prompt_tokens: int
    completion_tokens: int


def price(of: Estimate | Converted, prompt: float, completion: float) -> float:
    """What the tokens cost, with prices of a million."""
    return (of.prompt_tokens * prompt + of.completion_tokens * completion) / 1e6


def estimate(requests: Sequence[Request], replies: Replies, endpoint: Endpoint) -> Estimate:
    """What the pending of all requests cost."""
    left, model = pending(requests, replies, endpoint).values(), endpoint.model
    seen: dict[str, list[int]] = {kind: [] for kind in questions.KINDS}
    for request in requests:
        seen[request.kind] += [_tokens(each.text) for each in replies.of(request.key(model))]
    usual = {kind: np.mean(seen[kind]) if seen[kind] else TOKENS[kind] for kind in seen}
    prompt = sum(_tokens(m["content"]) for each in left for m in each.messages)
    completion = sum(usual[each.kind] for each in left)
    return Estimate(len(requests), len(left), prompt, round(completion))


def _tokens(text: str) -> int:
    return round(len(text) / LETTERS)


@dataclass(frozen=True)
class Converted:
    """What a conversion gave: `rows` by file; requests = `valid` + `rejected` + `unanswered`; and
    all `replies` with their tokens."""

    feedbacks: int
    unreadable: int
    requests: int
    valid: int
    rejected: int
    unanswered: int
    rows: Mapping[str, int]
    reasons: Mapping[str, int]
    replies: int
    prompt_tokens: int
    completion_tokens: int


def write(
    out: Path,
    found: Feedbacks,
    requests: Sequence[Request],
    replies: Replies,
    unanswered: Mapping[str, str],
    model: str,
    seed: int,
    form: str = CHOICE,
) -> Converted:
    """Write the rows and rejects of a conversion into the folder `out`. `form`: of closed
    questions.

    Raises InputError where a file can't be written.
    """
    files: dict[str, list[Any]] = {name: [] for name in ROWS}
    files["pathway"] = [questions.pathway_row(each) for each in found.feedbacks]
    rejects: list[dict[str, Any]] = [
        {"feedback": place, "kind": "feedback", "reason": reason} for place, reason in found.rejects
    ]
    valid = unsettled = 0
    closed: list[tuple[Request, Made]] = []
    for request in requests:
        key = request.key(model)
        made, reason = _first_valid(request, replies.of(key))
        if made is None and key in unanswered:
            refused = unanswered[key].startswith(REJECTED)
            unsettled += not refused
            reason = unanswered[key] if refused else f"no reply: {unanswered[key]}"
        if made is None:
            rejects.append(_reject(request, reason))
            continue
        valid += 1
        if request.kind == "yes_no":
            closed.append((request, made))
            continue
        for name, row in questions.rows(request, made, seed, form):
            files[name].append(row)
    kept = _balanced(closed)
    for place, (request, made) in enumerate(closed):
        if place in kept:
            files["yes_no"] += [row for _, row in questions.rows(request, made, seed, form)]
        else:
            rejects.append(_reject(request, SURPLUS))
    try:
        for name, rows in files.items():
            artifacts.write_json(out / f"{name}.json", rows)
        artifacts.write_jsonl(out / "rejects.jsonl", rejects)
    except OSError as error:
        raise InputError(f"{out}: can't write it: {error}") from None
    keys = {request.key(model) for request in requests}
    every = [reply for key in sorted(keys) for reply in replies.of(key)]
    return Converted(
        feedbacks=len(found.feedbacks),
        unreadable=len(found.rejects),
        requests=len(requests),
        valid=valid,
        rejected=len(requests) - valid - unsettled,
        unanswered=unsettled,
        rows={name: len(rows) for name, rows in files.items()},
        reasons=dict(Counter(each["reason"].partition(":")[0] for each in rejects)),
        replies=len(every),
        prompt_tokens=sum(each.prompt_tokens or 0 for each in every),
        completion_tokens=sum(each.completion_tokens or 0 for each in every),
    )


def _first_valid(request: Request, replies: Sequence[Completion]) -> tuple[Made | None, str]:
    """What the first valid reply says, or the reason the last one is not."""
    reason = "no reply: not asked"
    for reply in replies:
        try:
            return request.read(reply.text), ""
        except ValueError as error:
            reason = f"no valid reply of {len(replies)}: {error}"
    return None, reason


def _balanced(closed: Sequence[tuple[Request, Made]]) -> set[int]:
    """The places of as many questions with yes as with no: the first of each."""
    by_answer: dict[str, list[int]] = {"Yes": [], "No": []}
    for place, (request, _) in enumerate(closed):
        by_answer[request.wanted].append(place)
    fewest = min(map(len, by_answer.values()))
    return {place for places in by_answer.values() for place in places[:fewest]}


def _reject(request: Request, reason: str) -> dict[str, Any]:
    return {"feedback": request.feedback.id, "kind": request.kind, "reason": reason}
