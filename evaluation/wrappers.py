"""pure: the answer within a reply: without the reasoning, tags, boxes, JSON and special tokens that
models put around it."""

from __future__ import annotations

import json
import re
from typing import Any

_SPECIAL = re.compile(r"<\|[^<>|]*\|>|</?s>|<(?:eos|bos|pad|end_of_turn|end_of_utterance)>")
_THOUGHT = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
# Chat templates may open the tag in the prompt: the reply then only closes it.
_THOUGHT_BEFORE = re.compile(r".*</(?:think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
_OPEN_THOUGHT = re.compile(r"<(?:think|thinking|reasoning)>.*", re.DOTALL | re.IGNORECASE)
_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL | re.IGNORECASE)
_BOX = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_WITHIN_BOX = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}")
_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
_KEYS = ("answer", "final_answer", "choice", "option", "prediction")


def unwrapped(reply: str) -> str:
    """What a reply says in the end; empty where it only reasons.

    Special tokens and finished reasoning are cut. Of what remains the last `<answer>` decides, or
    else the last `\\boxed{}`, or the answer of a JSON object; or it is the answer itself.
    """
    text = _SPECIAL.sub("", reply)
    text = _THOUGHT_BEFORE.sub("", _THOUGHT.sub("", text))
    tagged = _ANSWER.findall(text)
    text = tagged[-1] if tagged else _OPEN_THOUGHT.sub("", text)
    boxed = _BOX.findall(text)
    if boxed:
        text = _WITHIN_BOX.sub(r"\1", boxed[-1])
    return _of_json(text.strip())


def _of_json(text: str) -> str:
    fenced = _FENCE.search(text)
    candidate = fenced[1] if fenced else text
    if not candidate.startswith("{"):
        return text
    try:
        value: Any = json.loads(candidate)
    except ValueError:
        return text
    found = {key.lower().replace(" ", "_"): each for key, each in value.items()}
    for key in _KEYS:
        each = found.get(key)
        each = each[0] if isinstance(each, list) and len(each) == 1 else each
        if isinstance(each, str):
            return each.strip()
    return text
