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
_FENCE = re.compile(r"```(?:json)?\s*((?:(?!```).)*?)\s*```\s*$", re.DOTALL)
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
    fenced = _FENCE.search(text)  # at its end: what follows may take it back
    try:
        value: Any = json.loads(fenced[1] if fenced else text)
    except ValueError:
        return text
    return _answer_of(value) or text


def _answer_of(value: Any) -> str | None:
    """The answer of a JSON value: a text, the only element of a list, or what an object calls so;
    None where there is none, or several that differ."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return _answer_of(value[0]) if len(value) == 1 else None
    if not isinstance(value, dict):
        return None
    named = [each for key, each in value.items() if key.lower().replace(" ", "_") in _KEYS]
    inner = named or (list(value.values()) if len(value) == 1 else [])
    found = {_answer_of(each) for each in inner}
    return found.pop() if len(found) == 1 else None
