"""pure: the demo's three domains, made from distorted crops of real photographs.

D1 (scoring) has a pseudo-MOS, never a human's: 100 · (½ · (1 − a · s / 5) + ½ · SSIM), where s is
the severity (0 to 5), a the share of the crop that is distorted and SSIM the mean structural
similarity on luma to the crop before distortion. It is in 0..100; a pristine crop has 100. The
column is called `mos`, as in every catalog. D2 (interpreting) comes from the known distortion, its
strength and its place; D3 (general) from colours measured on the pixels and from the things in the
photographs.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from qsit_ray import soft_levels
from qsit_ray.config.data import DemoData
from qsit_ray.data.catalog import BenchmarkImage, CatalogRow, Content, Question
from qsit_ray.demo import questions
from qsit_ray.demo.photographs import (
    Pixels,
    Sample,
    draw_samples,
    label,
    own,
    place_mask,
    render,
    weights_of,
)
from qsit_ray.demo.questions import Item
from qsit_ray.errors import InputError
from qsit_ray.levels import Range, mos_to_levels
from qsit_ray.prompts import PAPER, Profile, multiple_choice_prompt

HALF_SHARE = 0.35
"""Share of distorted crops of which one half is not distorted."""
PRISTINE_SHARE = 0.1
DESCRIPTION_SHARE = 0.06
"""Share of D2's rows that are pathway-style descriptions."""
CHOICE_SHARE = 0.85
"""Share of D2's and D3's questions that list options, as LLVisionQA does; the rest are open."""
ROWS_PER_IMAGE = 3

# The weight of each topic among those that an image allows; of a yes-or-no topic, of each answer.
_QUALITY_TOPICS = {
    "which": 5.0,
    "strength": 2.0,
    "present": 1.5,
    "clean": 0.75,
    "part": 2.0,
    "which placed": 1.5,
    "half": 1.0,
    "light": 1.5,
    "is light": 0.5,
    "brighter": 1.5,
}
_COLOUR_TOPICS = {"colour": 4.0, "is colour": 1.0}
_CONTENT_TOPICS = {"content": 3.0, "is content": 0.5}


@dataclass(frozen=True)
class _Shot:
    """A drawn image: its recipe, pixels, pseudo-MOS, and path relative to the catalog folder."""

    sample: Sample
    pixels: Pixels
    pseudo_mos: float
    image: str


_Asked = tuple[_Shot, Item]


PSEUDO_STD = 14.4
"""The pseudo-deviation of every pseudo-MOS: the mean of KonIQ-10k's deviations, .575 on a scale of
1 to 5, on one of 0 to 100."""


def pseudo_mos(sample: Sample, ssim: float) -> float:
    """Return the pseudo-MOS of a sample, 0 to 100 (the module's docstring has the formula)."""
    area = float(place_mask(sample.place).mean())
    return round(100.0 * (0.5 * (1.0 - area * sample.severity / 5.0) + 0.5 * ssim), 4)


def build(
    folder: Path,
    sizes: DemoData,
    seed: int,
    report: Callable[[int, int], None],
    workers: int = 2,
    profile: Profile = PAPER,
) -> Content:
    """Draw the images into `folder`/images and return the rows of every domain and split, asked and
    worded as the `profile`.

    The same seed gives the same bytes for every number of `workers`.
    """
    train, validation, test = weights_of("train"), weights_of("validation"), weights_of("test")
    if sizes.test_photographs is not None:
        test |= own(sizes.test_photographs)
    counts = {
        "train_scoring": (_only(train, sizes.scoring_photographs), sizes.scoring),
        "train": (train, -(-max(sizes.interpreting, sizes.general) // ROWS_PER_IMAGE)),
        "validation": (validation, max(sizes.validation_images, sizes.validation_scoring)),
        "test": (test, sizes.test_images),
    }
    samples: dict[str, list[Sample]] = {}
    for number, (name, (weights, count)) in enumerate(counts.items()):
        rng = np.random.default_rng([seed, number])
        samples[name] = draw_samples(weights, count, rng, HALF_SHARE, PRISTINE_SHARE)
    shots = _draw(samples, folder, report, workers)

    rng = np.random.default_rng([seed, 100])
    scored = shots["train_scoring"]
    low, high = Range("dataset").ends([s.pseudo_mos for s in scored])
    # Validation rows take the training rows' range, as a user's new images would.
    scale = Range("explicit", low=low, high=high)
    form = profile.choice
    trained = _scoring_rows(scored, scale, profile)
    trained += _interpreting_rows(shots["train"], sizes.interpreting, rng, form)
    trained += _general_rows(shots["train"], sizes.general, rng, form)
    held_out = shots["validation"]
    validated = _scoring_rows(held_out[: sizes.validation_scoring], scale, profile)
    validated += _interpreting_rows(held_out, sizes.validation_interpreting, rng, form)
    return Content(
        train=trained,
        validation=validated,
        images={
            "validation": [_benchmark_image(s) for s in held_out[: sizes.validation_images]],
            "test": [_benchmark_image(s) for s in shots["test"]],
        },
        questions={
            "validation": _benchmark_questions(held_out, sizes.validation_questions, rng),
            "test": _benchmark_questions(shots["test"], sizes.test_questions, rng),
        },
    )


def _only(weights: Mapping[str, float], names: Sequence[str] | None) -> Mapping[str, float]:
    """The named photographs. Raises InputError for a name that is not among them."""
    for name in names or ():
        if name not in weights:
            known = ", ".join(weights)
            raise InputError(f"data.scoring_photographs: {name}: unknown; expected {known}")
    return weights if names is None else {name: weights[name] for name in weights if name in names}


def _draw(
    samples: Mapping[str, Sequence[Sample]],
    folder: Path,
    report: Callable[[int, int], None],
    workers: int,
) -> dict[str, list[_Shot]]:
    """Draw every group of samples; images are numbered through all groups."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    flat = [sample for group in samples.values() for sample in group]
    shots: list[_Shot] = []
    for number, (sample, (pixels, ssim)) in enumerate(
        zip(flat, render_in_processes(flat, 100, workers), strict=True)
    ):
        path = f"images/{number:06d}.png"
        Image.fromarray(pixels).save(folder / path, compress_level=1)
        shots.append(_Shot(sample, pixels, pseudo_mos(sample, ssim), path))
        if len(shots) % 100 == 0 or len(shots) == len(flat):
            report(len(shots), len(flat))
    each = iter(shots)
    return {name: [next(each) for _ in group] for name, group in samples.items()}


def render_in_processes(
    samples: Sequence[Sample], chunk: int, workers: int
) -> Iterator[tuple[Pixels, float]]:
    """Render samples in `workers` processes, `chunk` at once, results in order."""
    if workers <= 1 or len(samples) <= chunk:
        yield from map(render, samples)
        return
    # Fork would copy a process that may already run threads (torch, Ray), which can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(render, samples, chunksize=chunk)


def _row(shot: _Shot, domain: str, human: str, answer: str, number: int) -> CatalogRow:
    return {
        "id": f"{domain}-{Path(shot.image).stem}-{number}",
        "domain": domain,
        "images": [
            {"path": shot.image, "height": shot.pixels.shape[0], "width": shot.pixels.shape[1]}
        ],
        "conversation": [{"from": "human", "value": human}, {"from": "gpt", "value": answer}],
        "mos": None,
        "level": None,
        "photograph": label(shot.sample.photograph),
        "dataset": "demo",
    }


def _scoring_rows(shots: Sequence[_Shot], scale: Range, profile: Profile) -> list[CatalogRow]:
    words = mos_to_levels([s.pseudo_mos for s in shots], scale).words(profile.words)
    rows = []
    for shot, word in zip(shots, words, strict=True):
        row = _row(shot, "scoring", profile.question, f"{profile.stem} {word}.", 0)
        row["mos"], row["level"] = shot.pseudo_mos, word
        shares = soft_levels.from_opinion(shot.pseudo_mos, PSEUDO_STD, *scale.ends([]))
        row["level_shares"] = shares.tolist()
        rows.append(row)
    return rows


def _benchmark_image(shot: _Shot) -> BenchmarkImage:
    return {
        "image": shot.image,
        "mos": shot.pseudo_mos,
        "photograph": label(shot.sample.photograph),
        "distortion": shot.sample.distortion,
        "severity": shot.sample.severity,
    }


def _interpreting_rows(
    shots: Sequence[_Shot], count: int, rng: np.random.Generator, form: str
) -> list[CatalogRow]:
    described = round(DESCRIPTION_SHARE * count)
    rows = []
    for i in range(described):
        shot = shots[i % len(shots)]
        request, answer = questions.description(shot.sample, shot.pixels, rng)
        rows.append(_row(shot, "interpreting", f"<image>\n{request}", answer, i))
    pool = [(s, i) for s in shots for i in questions.quality_items(s.sample, s.pixels, rng)]
    chosen = _balanced(pool, _QUALITY_TOPICS, count - described, rng)
    return rows + [
        _item_row(s, i, "interpreting", n, rng, form) for n, (s, i) in enumerate(chosen, described)
    ]


def _general_rows(
    shots: Sequence[_Shot], count: int, rng: np.random.Generator, form: str
) -> list[CatalogRow]:
    pool: list[_Asked] = []
    for shot in shots:
        items = questions.content_items(shot.sample, rng)
        pool += [(shot, i) for i in items + questions.colour_items(shot.pixels, rng)]
    chosen = _balanced(pool, _COLOUR_TOPICS | _CONTENT_TOPICS, count, rng)
    return [_item_row(s, i, "general", n, rng, form) for n, (s, i) in enumerate(chosen)]


def _item_row(
    shot: _Shot, item: Item, domain: str, number: int, rng: np.random.Generator, form: str
) -> CatalogRow:
    if rng.random() < CHOICE_SHARE:
        prompt = multiple_choice_prompt(item.question, _candidates(item, rng), form)
    else:
        prompt = f"<image>\n{item.question}"
    return _row(shot, domain, prompt, item.answer, number)


def _candidates(item: Item, rng: np.random.Generator) -> list[str]:
    """The answer among two or three wrong ones, where there are so many, in random order."""
    wrong = item.wrong
    number = min(len(wrong), 3 if rng.random() < 0.8 else 2)
    options = [item.answer, *(wrong[i] for i in rng.permutation(len(wrong))[:number])]
    return [options[i] for i in rng.permutation(len(options))]


def _benchmark_questions(
    shots: Sequence[_Shot], count: int, rng: np.random.Generator
) -> list[Question]:
    pool: list[_Asked] = []
    for shot in shots:
        items = questions.quality_items(shot.sample, shot.pixels, rng)
        pool += [(shot, i) for i in items + questions.colour_items(shot.pixels, rng)]
    chosen = _balanced(pool, _QUALITY_TOPICS | _COLOUR_TOPICS, count, rng)
    return [
        {
            "type": item.type,
            "concern": item.concern,
            "question": item.question,
            "img_path": shot.image,
            "candidates": _candidates(item, rng),
            "correct_ans": item.answer,
            "photograph": label(shot.sample.photograph),
        }
        for shot, item in chosen
    ]


def _balanced(
    pool: Sequence[_Asked], weights: Mapping[str, float], count: int, rng: np.random.Generator
) -> list[_Asked]:
    """Take `count` items with topics in the ratio of their weights and answers that vary within a
    topic. A topic that runs out starts again from its first item.

    Raises InputError for images of which nothing can be asked.
    """
    by_topic: dict[tuple[str, str], list[_Asked]] = {
        (topic, answer): [] for topic in weights for answer in ("", "yes", "no")
    }
    for i in rng.permutation(len(pool)):
        item = pool[i][1]
        by_topic[item.topic, item.answer if item.type == questions.YES_NO else ""].append(pool[i])
    topics = [t for t, items in by_topic.items() if items]
    if not topics:
        raise InputError("none of the demo's images allows a question; more images are needed")
    for topic in topics:
        by_topic[topic] = _rotate_answers(by_topic[topic])
    share = np.array([weights[topic] for topic, _ in topics])
    taken = np.zeros(len(topics))
    out = []
    for _ in range(count):
        # The topic that is furthest behind its share comes next.
        k = int(np.argmin((taken + 1) / share))
        items = by_topic[topics[k]]
        out.append(items[int(taken[k]) % len(items)])
        taken[k] += 1
    return [out[i] for i in rng.permutation(len(out))]


def _rotate_answers(items: list[_Asked]) -> list[_Asked]:
    """Order items so that each answer comes once in turn: then no answer is a good guess."""
    by_answer: dict[str, list[_Asked]] = {}
    for entry in items:
        by_answer.setdefault(entry[1].answer, []).append(entry)
    longest = max(len(group) for group in by_answer.values())
    return [g[i] for i in range(longest) for g in by_answer.values() if i < len(g)]
