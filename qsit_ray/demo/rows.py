"""pure: the demo's three domains, made of distorted crops of real photographs.

D1 (scoring) carries a pseudo-MOS, never a human's: 100 · (½ · (1 − a · s / 5) + ½ · SSIM), where s
is the severity (0 to 5), a the share of the crop that is distorted and SSIM the mean structural
similarity on luma to the crop before distortion. It lies in 0..100; a pristine crop has 100. The
column is called `mos` because the format's is. D2 (interpreting) is made from the known distortion,
its strength and its place; D3 (general) from colours measured on the pixels and from a hand-written
table of what the photographs show.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from qsit_ray.config.data import DemoData
from qsit_ray.demo import photographs as ph
from qsit_ray.demo import questions as dq
from qsit_ray.errors import InputError
from qsit_ray.levels import Range, mos_to_levels
from qsit_ray.prompts import LEVEL_STEM, SCORING_QUESTION, multiple_choice_prompt

Row = dict[str, Any]

HALF_SHARE = 0.35
"""Share of distorted crops of which one half stays as it was."""
PRISTINE_SHARE = 0.1
DESCRIPTION_SHARE = 0.06
"""Share of D2 rows that are pathway-style descriptions."""
CHOICE_SHARE = 0.85
"""Share of D2's and D3's questions that list options, as LLVisionQA does; the rest are asked
openly."""
ROWS_PER_IMAGE = 3

# How often each topic is asked, where it can be asked at all.
_QUALITY_TOPICS = {
    "which": 5.0,
    "strength": 2.0,
    "present yes": 1.5,
    "present no": 1.5,
    "clean yes": 0.75,
    "clean no": 0.75,
    "part": 2.0,
    "which placed": 1.5,
    "half yes": 1.0,
    "half no": 1.0,
    "light": 1.5,
    "is light yes": 0.5,
    "is light no": 0.5,
    "brighter": 1.5,
}
_COLOUR_TOPICS = {"colour": 4.0, "colour yes": 1.0, "colour no": 1.0}
_CONTENT_TOPICS = {"content": 3.0, "content yes": 0.5, "content no": 0.5}


@dataclass(frozen=True)
class DemoRows:
    """Everything `build` made. `iqa` and `questions` are keyed by split: validation, test."""

    train: list[Row]
    validation: list[Row]
    iqa: dict[str, list[Row]]
    questions: dict[str, list[Row]]


@dataclass(frozen=True)
class _Shot:
    """A drawn image: its recipe, its pixels, its pseudo-MOS and its path relative to the catalog
    folder."""

    sample: ph.Sample
    pixels: ph.Pixels
    pseudo_mos: float
    image: str


def pseudo_mos(sample: ph.Sample, ssim: float) -> float:
    """Return the pseudo-MOS of a sample, 0 to 100 (the module's docstring has the formula)."""
    area = float(ph.place_mask(sample.place).mean())
    return round(100.0 * (0.5 * (1.0 - area * sample.severity / 5.0) + 0.5 * ssim), 4)


def build(
    folder: Path, sizes: DemoData, seed: int, report: Callable[[int, int], None], workers: int = 2
) -> DemoRows:
    """Draw the images into `folder`/images and return the rows of every domain and split.

    The same seed gives the same bytes, whatever `workers`.
    """
    counts: dict[str, tuple[ph.Split, int]] = {
        "train_scoring": ("train", sizes.scoring),
        "train": ("train", -(-max(sizes.interpreting, sizes.general) // ROWS_PER_IMAGE)),
        "validation": ("validation", max(sizes.validation_images, sizes.validation_scoring)),
        "test": ("test", sizes.test_images),
    }
    samples: dict[str, list[ph.Sample]] = {}
    for number, (name, (split, count)) in enumerate(counts.items()):
        rng = np.random.default_rng([seed, number])
        samples[name] = ph.draw_samples(split, count, rng, HALF_SHARE, PRISTINE_SHARE)
    shots = _draw(samples, folder, report, workers)

    rng = np.random.default_rng([seed, 100])
    scored = shots["train_scoring"]
    low, high = Range("dataset").ends([s.pseudo_mos for s in scored])
    # Validation rows take the training rows' range, as a user's new images would.
    scale = Range("explicit", low=low, high=high)
    train = _scoring_rows(scored, scale)
    train += _interpreting_rows(shots["train"], sizes.interpreting, rng)
    train += _general_rows(shots["train"], sizes.general, rng)
    held_out = shots["validation"]
    validation = _scoring_rows(held_out[: sizes.validation_scoring], scale)
    validation += _interpreting_rows(held_out, sizes.validation_interpreting, rng)
    return DemoRows(
        train=train,
        validation=validation,
        iqa={
            "validation": [_iqa_row(s) for s in held_out[: sizes.validation_images]],
            "test": [_iqa_row(s) for s in shots["test"]],
        },
        questions={
            "validation": _questions(held_out, sizes.validation_questions, rng),
            "test": _questions(shots["test"], sizes.test_questions, rng),
        },
    )


def _draw(
    samples: dict[str, list[ph.Sample]],
    folder: Path,
    report: Callable[[int, int], None],
    workers: int,
) -> dict[str, list[_Shot]]:
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    flat = [s for group in samples.values() for s in group]
    chunks = [flat[i : i + 100] for i in range(0, len(flat), 100)]
    drawn: list[tuple[ph.Pixels, float]] = []
    for part in render_chunks(chunks, workers):
        drawn += part
        report(len(drawn), len(flat))
    shots: list[_Shot] = []
    for number, (sample, (pixels, ssim)) in enumerate(zip(flat, drawn, strict=True)):
        path = f"images/{number:06d}.png"
        Image.fromarray(pixels).save(folder / path, compress_level=1)
        shots.append(_Shot(sample, pixels, pseudo_mos(sample, ssim), path))
    out: dict[str, list[_Shot]] = {}
    for name, group in samples.items():
        out[name], shots = shots[: len(group)], shots[len(group) :]
    return out


def render_chunks(
    chunks: Sequence[Sequence[ph.Sample]], workers: int
) -> list[list[tuple[ph.Pixels, float]]]:
    """Render chunks of samples in `workers` processes, results in order."""
    if workers <= 1 or len(chunks) <= 1:
        return [ph.render_all(c) for c in chunks]
    # Fork would copy a process that may already run threads (torch, Ray), which can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        return list(pool.map(ph.render_all, chunks))


def _row(shot: _Shot, domain: str, human: str, answer: str, number: int) -> Row:
    return {
        "id": f"{domain}-{Path(shot.image).stem}-{number}",
        "domain": domain,
        "image": shot.image,
        "conversation": [{"from": "human", "value": human}, {"from": "gpt", "value": answer}],
        "mos": None,
        "level": None,
        "photograph": shot.sample.photograph,
    }


def _scoring_rows(shots: Sequence[_Shot], scale: Range) -> list[Row]:
    words = mos_to_levels([s.pseudo_mos for s in shots], scale).words()
    return [
        _row(shot, "scoring", SCORING_QUESTION, f"{LEVEL_STEM} {word}.", 0)
        | {"mos": shot.pseudo_mos, "level": word}
        for shot, word in zip(shots, words, strict=True)
    ]


def _iqa_row(shot: _Shot) -> Row:
    return {
        "image": shot.image,
        "mos": shot.pseudo_mos,
        "photograph": shot.sample.photograph,
        "distortion": shot.sample.distortion,
        "severity": shot.sample.severity,
    }


def _interpreting_rows(shots: Sequence[_Shot], count: int, rng: np.random.Generator) -> list[Row]:
    described = round(DESCRIPTION_SHARE * count)
    rows = []
    for i in range(described):
        shot = shots[i % len(shots)]
        ask, answer = dq.description(shot.sample, shot.pixels, rng)
        rows.append(_row(shot, "interpreting", f"<image>\n{ask}", answer, i))
    pool = [(s, i) for s in shots for i in dq.quality_items(s.sample, s.pixels, rng)]
    chosen = _balanced(pool, _QUALITY_TOPICS, count - described, rng)
    return rows + [
        _item_row(s, i, "interpreting", n, rng) for n, (s, i) in enumerate(chosen, described)
    ]


def _general_rows(shots: Sequence[_Shot], count: int, rng: np.random.Generator) -> list[Row]:
    pool = []
    for shot in shots:
        size = ph.pixels_of(shot.sample.photograph).shape[:2]
        items = dq.content_items(shot.sample, (size[0], size[1]), rng)
        pool += [(shot, i) for i in items + dq.colour_items(shot.pixels, rng)]
    chosen = _balanced(pool, _COLOUR_TOPICS | _CONTENT_TOPICS, count, rng)
    return [_item_row(s, i, "general", n, rng) for n, (s, i) in enumerate(chosen)]


def _item_row(
    shot: _Shot, item: dq.Item, domain: str, number: int, rng: np.random.Generator
) -> Row:
    if rng.random() < CHOICE_SHARE:
        prompt = multiple_choice_prompt(item.question, _candidates(item, rng))
    else:
        prompt = f"<image>\n{item.question}"
    return _row(shot, domain, prompt, item.answer, number)


def _candidates(item: dq.Item, rng: np.random.Generator) -> list[str]:
    wrong = list(item.wrong)
    number = min(len(wrong), 3 if rng.random() < 0.8 else 2)
    options = [item.answer, *(wrong[i] for i in rng.permutation(len(wrong))[:number])]
    return [options[i] for i in rng.permutation(len(options))]


def _questions(shots: Sequence[_Shot], count: int, rng: np.random.Generator) -> list[Row]:
    pool = []
    for shot in shots:
        items = dq.quality_items(shot.sample, shot.pixels, rng)
        pool += [(shot, i) for i in items + dq.colour_items(shot.pixels, rng)]
    chosen = _balanced(pool, _QUALITY_TOPICS | _COLOUR_TOPICS, count, rng)
    return [
        {
            "type": item.type,
            "concern": item.concern,
            "question": item.question,
            "img_path": shot.image,
            "candidates": _candidates(item, rng),
            "correct_ans": item.answer,
            "photograph": shot.sample.photograph,
        }
        for shot, item in chosen
    ]


def _balanced(
    pool: Sequence[tuple[_Shot, dq.Item]],
    weights: dict[str, float],
    count: int,
    rng: np.random.Generator,
) -> list[tuple[_Shot, dq.Item]]:
    """Take `count` items so that topics come in the ratio of their weights and answers vary within
    a topic.

    A topic that runs out starts again from its first item: few photographs can be asked everything.
    """
    by_topic: dict[str, list[tuple[_Shot, dq.Item]]] = {t: [] for t in weights}
    for i in rng.permutation(len(pool)):
        by_topic[pool[i][1].topic].append(pool[i])
    topics = [t for t, items in by_topic.items() if items]
    if not topics:
        raise InputError("none of the demo's images can be asked a question; ask for more images")
    for topic in topics:
        by_topic[topic] = _rotate_answers(by_topic[topic])
    share = np.array([weights[t] for t in topics])
    taken = np.zeros(len(topics))
    out = []
    for _ in range(count):
        # The topic that lags most behind its share comes next.
        k = int(np.argmin((taken + 1) / share))
        items = by_topic[topics[k]]
        out.append(items[int(taken[k]) % len(items)])
        taken[k] += 1
    return [out[i] for i in rng.permutation(len(out))]


def _rotate_answers(items: list[tuple[_Shot, dq.Item]]) -> list[tuple[_Shot, dq.Item]]:
    """Order items so that each answer in turn comes once: then no answer is a good guess in
    itself."""
    by_answer: dict[str, list[tuple[_Shot, dq.Item]]] = {}
    for entry in items:
        by_answer.setdefault(entry[1].answer, []).append(entry)
    longest = max(len(group) for group in by_answer.values())
    return [g[i] for i in range(longest) for g in by_answer.values() if i < len(g)]
