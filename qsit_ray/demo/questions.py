"""pure: what can truthfully be asked of a distorted crop: quality questions and content questions.

Quality comes from the recipe of the crop (distortion, strength, place), light and colour are
measured on the pixels, content comes from a small hand-written table of what stands where in each
photograph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsit_ray.demo.photographs import (
    CROP,
    DISTORTIONS,
    HALVES,
    PRISTINE,
    THINGS,
    Pixels,
    Sample,
    Thing,
    luma,
)

YES_NO, WHAT, HOW = 0, 1, 2
DISTORTION, OTHER, PLACED_DISTORTION, PLACED_OTHER = 0, 1, 2, 3

FAMILY: dict[str, str] = dict(
    zip(
        DISTORTIONS,
        (
            *("noise",) * 3,
            *("blur",) * 4,
            *("snow", "frost", "fog", "overexposure", "low contrast"),
            *("warping", "pixelation", "compression"),
        ),
        strict=True,
    )
)
"""The word a distortion goes by in questions and answers."""

KIND: dict[str, str] = dict(
    zip(
        DISTORTIONS,
        (
            *("grainy noise", "shot noise", "speckled noise"),
            *("focus blur", "glass blur", "motion blur", "zoom blur"),
            *("snow", "frost", "fog", "overexposure", "low contrast"),
            *("warping", "pixelation", "compression"),
        ),
        strict=True,
    )
)
"""The finer word used in descriptions."""

FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(FAMILY.values()))
STRENGTHS = ("slight", "moderate", "severe")
LIGHT = ("dark", "medium", "bright")
COLOURS = ("red", "orange", "yellow", "green", "blue", "brown", "black", "grey", "white")


@dataclass(frozen=True)
class Item:
    """One question with its true answer.

    `wrong` holds the answers that are certainly wrong (distractors); a yes-or-no item has exactly
    the other word. `topic` groups items that ask the same thing, so that a mix of them can be
    balanced.
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


def quality_items(sample: Sample, image: Pixels, rng: np.random.Generator) -> list[Item]:
    """Return closed questions about quality, in random wording, true of this crop."""
    out: list[Item] = []
    degraded = sample.distortion != PRISTINE
    placed = degraded and sample.place != "whole"
    if degraded:
        family, strength = FAMILY[sample.distortion], strength_of(sample.severity)
        others = tuple(f for f in FAMILIES if f != family)
        text = _pick(
            rng,
            (
                "What kind of distortion degrades this image?",
                "Which distortion does this image suffer from?",
                "What is the main quality problem of this image?",
            ),
        )
        out.append(Item("which", WHAT, DISTORTION, text, family, others))
        weaker = tuple(s for s in STRENGTHS if s != strength)
        text = _pick(
            rng, (f"How strong is the {family} in this image?", "How strong is the distortion?")
        )
        if sample.severity != 3 or rng.random() < 0.5:
            out.append(Item("strength", HOW, DISTORTION, text, strength, weaker))
        out.append(_yes_no("present", DISTORTION, _present(rng, family), True))
    absent = _pick(rng, [f for f in FAMILIES if not degraded or f != FAMILY[sample.distortion]])
    out.append(_yes_no("present", DISTORTION, _present(rng, absent), False))
    clean = _pick(
        rng, ("Is this image free of distortion?", "Is the image without any visible flaw?")
    )
    if not degraded or sample.severity >= 2:
        out.append(_yes_no("clean", DISTORTION, clean, not degraded))
    if placed:
        out += _placed(sample, rng)
    return out + _light_items(image, rng)


def _yes_no(topic: str, concern: int, question: str, yes: bool) -> Item:
    answer, other = ("yes", "no") if yes else ("no", "yes")
    return Item(f"{topic} {answer}", YES_NO, concern, question, answer, (other,))


def _present(rng: np.random.Generator, family: str) -> str:
    return _pick(
        rng, (f"Is there any {family} in this image?", f"Does this image suffer from {family}?")
    )


def _placed(sample: Sample, rng: np.random.Generator) -> list[Item]:
    family = FAMILY[sample.distortion]
    place = sample.place
    opposite = {a: b for pair in (HALVES[:2], HALVES[2:]) for a, b in (pair, pair[::-1])}[place]
    elsewhere = tuple(h for h in HALVES if h != place)
    where = _pick(
        rng, ("Which part of the image is degraded?", f"Where in the image is the {family}?")
    )
    return [
        Item(
            "part",
            WHAT,
            PLACED_DISTORTION,
            where,
            f"the {place}",
            tuple(f"the {h}" for h in elsewhere),
        ),
        Item(
            "which placed",
            WHAT,
            PLACED_DISTORTION,
            f"What kind of distortion degrades the {place} of the image?",
            family,
            tuple(f for f in FAMILIES if f != family),
        ),
        _yes_no("half", PLACED_DISTORTION, f"Is the {place} of the image degraded?", True),
        _yes_no("half", PLACED_DISTORTION, f"Is the {opposite} of the image degraded?", False),
    ]


def light_of(image: Pixels) -> str | None:
    """Return dark, medium or bright from mean luma; None near a boundary, where people would
    disagree."""
    value = float(luma(image).mean())
    for word, low, high in zip(LIGHT, (0.0, 95.0, 160.0), (80.0, 145.0, 256.0), strict=True):
        if low <= value < high:
            return word
    return None


def _light_items(image: Pixels, rng: np.random.Generator) -> list[Item]:
    out: list[Item] = []
    light = light_of(image)
    if light is not None:
        others = tuple(w for w in LIGHT if w != light)
        out.append(Item("light", HOW, OTHER, "How is the lighting of this image?", light, others))
        asked = "dark" if rng.random() < 0.5 else "bright"
        if light != "medium":
            out.append(_yes_no("is light", OTHER, f"Is this image {asked}?", asked == light))
    value = luma(image)
    half = CROP // 2
    first, second, names = (
        (value[:, :half], value[:, half:], HALVES[:2])
        if rng.random() < 0.5
        else (value[:half], value[half:], HALVES[2:])
    )
    difference = float(first.mean() - second.mean())
    if abs(difference) > 20:
        brighter, darker = names if difference > 0 else names[::-1]
        text = f"Which is brighter, the {names[0]} or the {names[1]}?"
        out.append(
            Item("brighter", WHAT, PLACED_OTHER, text, f"the {brighter}", (f"the {darker}",))
        )
    return out


def colour_of(image: Pixels) -> str | None:
    """Return the colour word that covers most of uint8 [..., 3], or None when no colour clearly
    does."""
    rgb = np.asarray(image, np.float64).reshape(-1, 3) / 255.0
    names = _colour_index(rgb)
    share = np.bincount(names, minlength=len(COLOURS)) / len(names)
    order = np.argsort(-share, kind="stable")
    clear = share[order[0]] >= 0.45 and share[order[0]] >= share[order[1]] + 0.15
    return COLOURS[int(order[0])] if clear else None


def _colour_index(rgb: NDArray[np.float64]) -> NDArray[np.int64]:
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
    # A dark orange is what people call brown.
    coloured = np.where((coloured == 1) & (high < 0.6), 5, coloured)
    neutral = np.select([high < 0.25, high < 0.75], [6, 7], default=8)
    plain = (spread < 0.12) | (spread / np.maximum(high, 1e-9) < 0.25) | (high < 0.15)
    return np.where(plain, neutral, coloured).astype(np.int64)


def colour_items(image: Pixels, rng: np.random.Generator) -> list[Item]:
    """Return closed questions on the colour that fills the crop or one half of it."""
    out: list[Item] = []
    half = CROP // 2
    places: list[tuple[str, int, Any]] = [
        ("this image", OTHER, np.s_[:, :]),
        ("the left half", PLACED_OTHER, np.s_[:, :half]),
        ("the right half", PLACED_OTHER, np.s_[:, half:]),
        ("the top half", PLACED_OTHER, np.s_[:half]),
        ("the bottom half", PLACED_OTHER, np.s_[half:]),
    ]
    for place, concern, where in places:
        colour = colour_of(image[where])
        if colour is None:
            continue
        others = tuple(c for c in COLOURS if c != colour)
        out.append(
            Item("colour", WHAT, concern, f"Which colour fills most of {place}?", colour, others)
        )
        yes = bool(rng.random() < 0.5)
        asked = colour if yes else _pick(rng, others)
        out.append(_yes_no("colour", concern, f"Is most of {place} {asked}?", yes))
    return out


def content_items(
    sample: Sample, photo_size: tuple[int, int], rng: np.random.Generator
) -> list[Item]:
    """Return closed questions on what is in the crop, from the table. `photo_size` is (height,
    width)."""
    height, width = photo_size
    left, top, side = sample.box
    seen: list[tuple[float, Thing, str]] = []
    for thing in THINGS[sample.photograph]:
        x0, y0, x1, y1 = (
            v * s for v, s in zip(thing.box, (width, height, width, height), strict=True)
        )
        ax, ay, bx, by = max(x0, left), max(y0, top), min(x1, left + side), min(y1, top + side)
        overlap = max(0.0, bx - ax) * max(0.0, by - ay)
        share = overlap / side**2
        if overlap > 0 and (share >= 0.3 or overlap >= 0.5 * (x1 - x0) * (y1 - y0)):
            dx, dy = ((ax + bx) / 2 - left) / side - 0.5, ((ay + by) / 2 - top) / side - 0.5
            seen.append((share, thing, _where(dx, dy)))
    if not seen:
        return []
    # Earlier rows of the table are the smaller things in front: the first one seen is the subject.
    _, thing, where = seen[0]
    visible = {t.name for _, t, _ in seen}
    names = sorted({t.name for ts in THINGS.values() for t in ts})
    absent = tuple(n for n in names if n not in visible)
    colours = tuple(c for c in (*COLOURS, "pink") if c != thing.colour)
    places = tuple(p for p in ("left", "right", "top", "bottom", "centre") if p != where)
    bare = thing.name.removeprefix("a ").removeprefix("an ").removeprefix("the ")
    asked = thing.name if rng.random() < 0.5 else _pick(rng, absent)
    what = _pick(rng, ("What is in the picture?", "What does the picture show?"))
    return [
        Item("content", WHAT, OTHER, what, thing.name, absent),
        Item("content", WHAT, PLACED_OTHER, f"What colour is the {bare}?", thing.colour, colours),
        Item("content", WHAT, PLACED_OTHER, f"Where in the picture is the {bare}?", where, places),
        _yes_no("content", OTHER, f"Does the picture show {asked}?", asked in visible),
    ]


def _where(dx: float, dy: float) -> str:
    if max(abs(dx), abs(dy)) < 0.12:
        return "centre"
    if abs(dx) >= abs(dy):
        return "left" if dx < 0 else "right"
    return "top" if dy < 0 else "bottom"


def description(sample: Sample, image: Pixels, rng: np.random.Generator) -> tuple[str, str]:
    """Return a pathway-style request and its answer: the attributes first, then the conclusion."""
    ask = _pick(
        rng,
        (
            "Describe the quality of this image.",
            "Analyse the quality of this image and conclude.",
            "Explain what affects the quality of this image.",
        ),
    )
    light = light_of(image)
    lit = f" The lighting is {light}." if light is not None else ""
    if sample.distortion == PRISTINE:
        return ask, f"The image is clear and free of distortion.{lit} There is nothing to repair."
    where = "the whole image" if sample.place == "whole" else f"the {sample.place} of the image"
    kind, strength = KIND[sample.distortion], strength_of(sample.severity)
    return (
        ask,
        f"There is {strength} {kind} in {where}.{lit} The {FAMILY[sample.distortion]} degrades it.",
    )
