"""rim: run folders for the questions: rows in LLaVA's shape, images of noise, random weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Mix, Models
from qsit_ray.config.data import LlavaData
from qsit_ray.config.files import override
from qsit_ray.config.presets import demo
from qsit_ray.levels import LEVELS
from qsit_ray.mixture import DOMAINS
from qsit_ray.terminal import Terminal

WORDS = "it is rather sharp and a little noisy in darker parts".split()  # noqa: SIM905
Size = tuple[int, int]


def llava_files(folder: Path, rows: int, sizes: Sequence[Size], words: int) -> LlavaData:
    """Training files of `rows` rows a domain, and images of smooth noise, half as many; an answer
    of D2 has `words` words, one of D3 twice as many. `sizes`: (height, width), taken in turn."""
    rng, images = np.random.default_rng(0), folder / "images"
    images.mkdir(parents=True)
    names = [f"{number}.jpg" for number in range(max(8, rows // 2))]
    for number, name in enumerate(names):
        write_image(images / name, sizes[number % len(sizes)], rng)

    def record(identity: str, image: str, question: str, answer: str) -> dict[str, Any]:
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
        return {"id": identity, "image": image, "conversations": turns}

    content: dict[str, list[dict[str, Any]]] = {domain: [] for domain in DOMAINS}
    for row in range(rows):
        name, level = names[row % len(names)], row % 5
        answer = f"The quality of the image is {LEVELS[level]}."
        identity = f"{name}->{1 + level}.0"
        content["scoring"].append(record(identity, name, "<image>\nHow good is it?", answer))
        for domain, count in (("interpreting", words), ("general", 2 * words)):
            text = " ".join(rng.choice(WORDS, count))
            question = f"<image>\nWhat of row {row}?"
            content[domain].append(record(f"{row}", name, question, text))
    asked = {"question": "Is it sharp?", "candidates": ["yes", "no"], "correct_ans": "yes"}
    questions = [{**asked, "type": 0, "concern": 0, "img_path": name} for name in names[:8]]
    for domain, records in content.items():
        (folder / f"{domain}.json").write_text(json.dumps(records))
    (folder / "questions.json").write_text(json.dumps(questions))
    return LlavaData(
        images=str(images),
        scoring=(str(folder / "scoring.json"),),
        interpreting=(str(folder / "interpreting.json"),),
        general=(str(folder / "general.json"),),
        validation_questions=str(folder / "questions.json"),
    )


def write_image(file: Path, size: Size, rng: np.random.Generator) -> None:
    """A JPEG of smooth noise; `size`: (height, width)."""
    height, width = size
    small = rng.integers(0, 256, (max(2, height // 16), max(2, width // 16), 3), np.uint8)
    Image.fromarray(small).resize((width, height)).save(file, quality=90)


def make_run(
    folder: Path,
    base: str,
    rows: int,
    *settings: str,
    sizes: Sequence[Size] = ((64, 64),),
    words: int = 16,
    frozen: bool = True,
) -> RunFolder:
    """A run whose catalog and counts of tokens are made, of the checkpoint `base`, at a mix of
    `rows` rows a domain. With a frozen tower its features are remembered, as in the demo, but none
    is computed here."""
    from qsit_ray import pipeline
    from qsit_ray.stages.catalog import build
    from qsit_ray.stages.tokens import count_tokens

    data = llava_files(folder / "data", -(-rows * 10 // 9) + 8, sizes, words)
    models = Models(
        proxy=base,
        primary=base,
        remember_features=frozen,
        freeze_vision=frozen,
        max_length=8192,
    )
    mix: Mix = {"scoring": 1.0, "interpreting": 1.0, "general": 1.0}
    changed = {"data": data, "pretraining": None, "models": models, "mix": mix}
    run = RunFolder(folder / "run")
    asked = ["train.controller=null", *settings]
    config, _ = pipeline.create(run, override(demo().model_copy(update=changed), asked))
    terminal = Terminal()
    build(run, config, terminal)
    count_tokens(run, config, terminal)
    # A run at a given mix has no proxy; here it is the same model, which counts alike.
    shutil.copy(run.tokens("primary"), run.tokens("proxy"))
    return run
