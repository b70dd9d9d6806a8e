"""pure: true questions about a distorted crop: its quality and its content.

Quality comes from the recipe of the crop (distortion, strength, place), light and colour are
measured on the pixels, content comes from the things in scenes.yaml.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qsit_ray.demo import photographs
from qsit_ray.demo.photographs import DISTORTIONS, HALVES, PHOTOGRAPHS, PRISTINE, Pixels, Sample

# The numbers of LLVisionQA's question types and concerns.
YES_NO, WHAT, HOW = 0, 1, 2
DISTORTION, OTHER, PLACED_DISTORTION, PLACED_OTHER = 0, 1, 2, 3

FAMILIES = tuple(dict.fromkeys(words.family for words in DISTORTIONS.values()))
STRENGTHS = ("slight", "moderate", "severe")
LIGHT = ("dark", "medium", "bright")
COLOURS = ("red", "orange", "yellow", "green", "blue", "brown", "black", "grey", "white")
THINGS = sorted({thing.name for each in PHOTOGRAPHS.values() for thing in each.things})

_WHICH = (
    "What kind of distortion degrades this image?",
    "Which distortion does this image suffer from?",
    "What is the main quality problem of this image?",
)
_STRENGTH = ("How strong is the {} in this image?", "How strong is the distortion?")
_PRESENT = ("Is there any {} in this image?", "Does this image suffer from {}?")
_CLEAN = ("Is this image free of distortion?", "Is the image without any visible flaw?")
_PART = ("Which part of the image is degraded?", "Where in the image is the {}?")
_CONTENT = ("What is in the picture?", "What does the picture show?")
_DESCRIBE = (
    "Describe the quality of this image.",
    "Analyse the quality of this image and conclude.",
    "Explain what affects the quality of this image.",
)


@dataclass(frozen=True)
class Item:
    """One question with its true answer.

    `wrong`: answers that are certainly wrong (distractors); of a yes-or-no item, the other word.
    `topic` groups items that ask the same, so that their mix can be balanced; each answer of a
    yes-or-no question counts as a topic.
    """

    topic: str
    type: int
    concern: int
    question: str
    answer: str
    wrong: tuple[str, ...]


def strength_of(severity: int) -> str:
    """Return the word for a severity of 1 to 5."""
    return STRENGTHS[0] if severity <= 2 else STRENGTHS[1] if severity == 3 else STRENGTHS[2]


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _item(
    topic: str, type_: int, concern: int, question: str, answer: str, options: Sequence[str]
) -> Item:
    """An item whose wrong answers are the other `options`."""
    wrong = tuple(option for option in options if option != answer)
    return Item(topic, type_, concern, question, answer, wrong)


def _yes_no(topic: str, concern: int, question: str, yes: bool) -> Item:
    answer = "yes" if yes else "no"
    return _item(topic, YES_NO, concern, question, answer, ("yes", "no"))


def quality_items(sample: Sample, image: Pixels, rng: np.random.Generator) -> list[Item]:
    """Return closed questions about the quality of this crop, in random wording."""
    out: list[Item] = []
    words = DISTORTIONS.get(sample.distortion)  # None for a pristine crop
    family = words.family if words else None
    if family is not None:
        out.append(_item("which", WHAT, DISTORTION, _pick(rng, _WHICH), family, FAMILIES))
        text = _pick(rng, _STRENGTH).format(family)
        if sample.severity != 3 or rng.random() < 0.5:
            strength = strength_of(sample.severity)
            out.append(_item("strength", HOW, DISTORTION, text, strength, STRENGTHS))
        text = _pick(rng, _PRESENT).format(family)
        out.append(_yes_no("present", DISTORTION, text, True))
    absent = _pick(rng, [f for f in FAMILIES if f != family])
    text = _pick(rng, _PRESENT).format(absent)
    out.append(_yes_no("present", DISTORTION, text, False))
    clean = _pick(rng, _CLEAN)
    if family is None or sample.severity >= 2:
        out.append(_yes_no("clean", DISTORTION, clean, family is None))
    if family is not None and sample.place != "whole":
        out += _placed(sample.place, family, rng)
    return out + _light_items(image, rng)


def _placed(place: photographs.Place, family: str, rng: np.random.Generator) -> list[Item]:
    """Questions about the half that is distorted."""
    opposite = {a: b for pair in (HALVES[:2], HALVES[2:]) for a, b in (pair, pair[::-1])}[place]
    where = _pick(rng, _PART).format(family)
    which = f"What kind of distortion degrades the {place} of the image?"
    halves = [f"the {half}" for half in HALVES]
    return [
        _item("part", WHAT, PLACED_DISTORTION, where, f"the {place}", halves),
        _item("which placed", WHAT, PLACED_DISTORTION, which, family, FAMILIES),
        _yes_no("half", PLACED_DISTORTION, f"Is the {place} of the image degraded?", True),
        _yes_no("half", PLACED_DISTORTION, f"Is the {opposite} of the image degraded?", False),
    ]


def light_of(image: Pixels) -> str | None:
    """Return dark, medium or bright from mean luma; None near a boundary, where people differ."""
    value = float(photographs.luma(image).mean())
    for word, low, high in zip(LIGHT, (0.0, 95.0, 160.0), (80.0, 145.0, 256.0), strict=True):
        if low <= value < high:
            return word
    return None


def _light_items(image: Pixels, rng: np.random.Generator) -> list[Item]:
    out: list[Item] = []
    light = light_of(image)
    if light is not None:
        out.append(_item("light", HOW, OTHER, "How is the lighting of this image?", light, LIGHT))
        asked = "dark" if rng.random() < 0.5 else "bright"
        if light != "medium":
            out.append(_yes_no("is light", OTHER, f"Is this image {asked}?", asked == light))
    names = HALVES[:2] if rng.random() < 0.5 else HALVES[2:]
    value = photographs.luma(image)
    first, second = (float(value[photographs.PLACES[name]].mean()) for name in names)
    if abs(first - second) > 20:
        options = [f"the {name}" for name in names]
        text = f"Which is brighter, {' or '.join(options)}?"
        answer = options[0] if first > second else options[1]
        out.append(_item("brighter", WHAT, PLACED_OTHER, text, answer, options))
    return out


def colour_of(image: Pixels) -> str | None:
    """Return the word of the colour that clearly fills most of uint8 [..., 3], or None."""
    indices = _colour_index(np.asarray(image, np.float64).reshape(-1, 3) / 255.0)
    share = np.bincount(indices, minlength=len(COLOURS)) / len(indices)
    order = np.argsort(-share, kind="stable")
    clear = share[order[0]] >= 0.45 and share[order[0]] >= share[order[1]] + 0.15
    return COLOURS[int(order[0])] if clear else None


def _colour_index(rgb: NDArray[np.float64]) -> NDArray[np.int64]:
    """The index in COLOURS of each pixel of [n, 3], 0 to 1, from its hue, value and saturation."""
    high, low = rgb.max(axis=1), rgb.min(axis=1)
    spread = high - low
    safe = np.where(spread > 0, spread, 1.0)
    r, g, b = rgb.T
    hue = np.where(
        high == r, (g - b) / safe % 6, np.where(high == g, (b - r) / safe + 2, (r - g) / safe + 4)
    )
    degrees = hue * 60.0
    coloured = np.select(
        [degrees < 18, degrees < 42, degrees < 68, degrees < 175, degrees < 265],
        [0, 1, 2, 3, 4],
        default=0,
    )
    # People call a dark orange brown.
    coloured = np.where((coloured == 1) & (high < 0.6), 5, coloured)
    neutral = np.select([high < 0.25, high < 0.75], [6, 7], default=8)
    plain = (spread < 0.12) | (spread / np.maximum(high, 1e-9) < 0.25) | (high < 0.15)
    return np.where(plain, neutral, coloured).astype(np.int64)


def colour_items(image: Pixels, rng: np.random.Generator) -> list[Item]:
    """Return closed questions about the colour that fills the crop or one half of it."""
    out: list[Item] = []
    for place, part in photographs.PLACES.items():
        colour = colour_of(image[part])
        if colour is None:
            continue
        name, concern = (
            ("this image", OTHER) if place == "whole" else (f"the {place}", PLACED_OTHER)
        )
        text = f"Which colour fills most of {name}?"
        item = _item("colour", WHAT, concern, text, colour, COLOURS)
        yes = bool(rng.random() < 0.5)
        asked = colour if yes else _pick(rng, item.wrong)
        out += [item, _yes_no("is colour", concern, f"Is most of {name} {asked}?", yes)]
    return out


def content_items(sample: Sample, rng: np.random.Generator) -> list[Item]:
    """Return closed questions about the things in the crop."""
    height, width = photographs.pixels_of(sample.photograph).shape[:2]
    left, top, side = sample.box
    seen: list[tuple[photographs.Thing, str]] = []
    for thing in PHOTOGRAPHS[sample.photograph].things:
        x0, y0, x1, y1 = thing.box
        x0, y0, x1, y1 = x0 * width, y0 * height, x1 * width, y1 * height
        ax, ay, bx, by = max(x0, left), max(y0, top), min(x1, left + side), min(y1, top + side)
        overlap = max(0.0, bx - ax) * max(0.0, by - ay)
        big = overlap / side**2 >= 0.3 or overlap >= 0.5 * (x1 - x0) * (y1 - y0)
        if overlap > 0 and big:
            dx, dy = ((ax + bx) / 2 - left) / side - 0.5, ((ay + by) / 2 - top) / side - 0.5
            seen.append((thing, _where(dx, dy)))
    if not seen:
        return []
    thing, where = seen[0]  # the smaller things in front come first: this one is the subject
    visible = {each.name for each, _ in seen}
    absent = [name for name in THINGS if name not in visible]
    bare = thing.name.removeprefix("a ").removeprefix("an ").removeprefix("the ")
    colour, place = f"What colour is the {bare}?", f"Where in the picture is the {bare}?"
    places = ("left", "right", "top", "bottom", "centre")
    asked = thing.name if rng.random() < 0.5 else _pick(rng, absent)
    return [
        _item("content", WHAT, OTHER, _pick(rng, _CONTENT), thing.name, absent),
        _item("content", WHAT, PLACED_OTHER, colour, thing.colour, (*COLOURS, "pink")),
        _item("content", WHAT, PLACED_OTHER, place, where, places),
        _yes_no("is content", OTHER, f"Does the picture show {asked}?", asked in visible),
    ]


def _where(dx: float, dy: float) -> str:
    """The word for a place at (dx, dy) from the centre, in sides of the crop."""
    if max(abs(dx), abs(dy)) < 0.12:
        return "centre"
    if abs(dx) >= abs(dy):
        return "left" if dx < 0 else "right"
    return "top" if dy < 0 else "bottom"


def description(sample: Sample, image: Pixels, rng: np.random.Generator) -> tuple[str, str]:
    """Return a pathway-style request and its answer: the attributes first, then the conclusion."""
    request = _pick(rng, _DESCRIBE)
    light = light_of(image)
    lit = f" The lighting is {light}." if light is not None else ""
    if sample.distortion == PRISTINE:
        clear = f"The image is clear and free of distortion.{lit} There is nothing to repair."
        return request, clear
    where = "the whole image" if sample.place == "whole" else f"the {sample.place} of the image"
    words, strength = DISTORTIONS[sample.distortion], strength_of(sample.severity)
    conclusion = f"The {words.family} degrades it."
    return request, f"There is {strength} {words.kind} in {where}.{lit} {conclusion}"
