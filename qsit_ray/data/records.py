"""pure: instruction records in the shapes of other projects, as records in LLaVA's.

LLaVA: {"image", "conversations": [{"from", "value"}]}. OpenAI, ms-swift and Hugging Face:
{"messages": [{"role", "content"}], "images"}, a content being a text or a list of parts. Q-Align
writes <|image|> for <image>. What can't be one record of ours is a ValueError, whose text is the
kind of reason, and after a colon what differs from record to record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qsit_ray.addresses import masked
from qsit_ray.data.encode import IMAGE

SPEAKERS = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt"}
OTHER_TOKENS = ("<|image|>",)
VIDEO = "<video>"


def in_llavas_shape(record: Any) -> dict[str, Any]:
    """The record with `image`, a list of file names, and `conversations` of human and gpt turns.

    Its other keys stay. Raises ValueError with the reason it can't be one.
    """
    if not isinstance(record, dict):
        raise ValueError("no list of conversations")
    if any(record.get(key) for key in ("video", "videos")):
        raise ValueError("a video; only images are read")
    turns, shown = _turns(record)
    # An image that a part of a message holds comes first: `images` then repeats it.
    images = shown or _names(record.get("image") or record.get("images") or [])
    text = "".join(turn["value"] for turn in turns if isinstance(turn["value"], str))
    if VIDEO in text:
        raise ValueError("a video; only images are read")
    for token in OTHER_TOKENS if IMAGE not in text else ():
        for turn in turns:
            if isinstance(turn["value"], str):
                turn["value"] = turn["value"].replace(token, IMAGE)
    kept = {key: value for key, value in record.items() if key not in ("messages", "images")}
    return {**kept, "image": images, "conversations": turns}


def _turns(record: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """The turns of a record, and the images that parts of its messages hold."""
    shape = "messages" if isinstance(record.get("messages"), list) else "conversations"
    who, what = ("role", "content") if shape == "messages" else ("from", "value")
    found = record.get(shape)
    if not isinstance(found, list):
        raise ValueError("no list of conversations")
    turns: list[dict[str, Any]] = []
    shown: list[str] = []
    for turn in found:
        if not isinstance(turn, dict):
            raise ValueError("a turn is not an object")
        speaker = turn.get(who)
        if speaker in ("system", "tool", "function"):
            raise ValueError(f"a {speaker} turn, which the prompts have no place for")
        value = turn.get(what)
        if isinstance(value, list):
            value = _joined(value, shown)
        known = SPEAKERS.get(speaker) if isinstance(speaker, str) else None
        turns.append({"from": known or speaker, "value": value})
    return turns, shown


def _joined(parts: list[Any], shown: list[str]) -> str:
    """The text of a message's parts; the images that they hold are added to `shown`."""
    texts = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind in ("image", "image_url"):
            source = part.get(kind, part.get("path", part.get("image")))
            if source is not None:
                shown += _names(source)
            texts.append(IMAGE)
        elif isinstance(kind, str) and kind.startswith("video"):
            raise ValueError("a video; only images are read")
        else:
            raise ValueError(f"a part of a message that is neither text nor image: {kind!r}")
    return "\n".join(texts)


def _names(source: Any) -> list[str]:
    """File names: one or a list of a name, {"path": name} or {"url": name}."""
    names = []
    for each in source if isinstance(source, list) else [source]:
        name = each
        if isinstance(each, dict):
            name = each.get("path") or each.get("url")
        if not isinstance(name, str):
            raise ValueError("image is not a file name")
        if name.startswith("data:") or name.partition("://")[0] in ("http", "https"):
            raise ValueError(f"an image by its address, which is not fetched: {masked(name):.60}")
        # As Windows writes paths; no image set has a name with a backslash in it.
        names.append(name.removeprefix("file://").replace("\\", "/"))
    return names
