"""torch: how fast a Rater is beside the flow that scores and asks one image at a time, and beside
the matrix products of this machine. Writes the section `rating` of docs/USE.md."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from qsit_ray.demo import models
from qsit_ray.demo.pretrain import make_tokenizer
from qsit_ray.evaluation.efficiency import analytic_flops
from qsit_ray.evaluation.studies.random_model import write_random
from qsit_ray.evaluation.studies.sections import command_line, table, write_section
from qsit_ray.models import load
from qsit_ray.models.architectures import architecture
from qsit_ray.models.load import Checkpoint
from qsit_ray.prompts import PAPER, level_tokens
from qsit_ray.rating.rater import Rater
from qsit_ray.rating.results import Reject

Result = TypeVar("Result")
REPEATS = 3
CROP, KONIQ = (64, 64), (768, 1024)
ANSWER = 8
"""Tokens of an answer."""
QUESTIONS = tuple(f"Is the image's {part} good?" for part in
                  ("sharpness", "light", "colour", "contrast", "noise", "composition"))  # fmt: skip


def write_images(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """JPEG files of smooth noise, (height, width) pixels."""
    folder.mkdir(parents=True)
    rng, paths = np.random.default_rng(0), []
    for number in range(count):
        small = rng.integers(0, 256, (max(2, size[0] // 16), max(2, size[1] // 16), 3), np.uint8)
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(small).resize(size[::-1]).save(paths[-1], quality=90)
    return paths


def one_by_one(checkpoint: Checkpoint, paths: Sequence[Path]) -> list[float]:
    """Scores as the released script makes them: each image through the processor and `generate`."""
    model, processor = checkpoint.model, checkpoint.processor
    words, scores = level_tokens(processor.tokenizer), []
    for path in paths:
        with Image.open(path) as image:
            inputs = _inputs(checkpoint, image.convert("RGB"), PAPER.question, PAPER.stem)
        with torch.no_grad():
            found = model.generate(
                **inputs, max_new_tokens=1, output_logits=True, return_dict_in_generate=True
            )
        scores.append(float(PAPER.score(found.logits[0][0, words].double().cpu().numpy())))
    return scores


def official_answer(checkpoint: Checkpoint, path: Path, question: str, most_tokens: int) -> str:
    """An answer as the released script makes it: image and question through the processor and
    `generate`."""
    with Image.open(path) as image:
        inputs = _inputs(checkpoint, image.convert("RGB"), question, "")
    with torch.no_grad():
        found = checkpoint.model.generate(**inputs, max_new_tokens=most_tokens, do_sample=False)
    answer: str = checkpoint.processor.tokenizer.decode(found[0, inputs["input_ids"].shape[1] :])
    return answer


def _inputs(checkpoint: Checkpoint, image: Image.Image, question: str, stem: str) -> dict[str, Any]:
    """What transformers' processor makes of an image and a question. Normalised here: the models of
    this package take uint8 tiles."""
    processor = checkpoint.processor
    text = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{stem}"
    found = processor(images=image, text=text, return_tensors="pt")
    keys = ("input_ids", "attention_mask", "pixel_values", "image_sizes")
    return {key: found[key].to(checkpoint.model.device) for key in keys}


def batched(checkpoint: Checkpoint, paths: Sequence[Path]) -> list[float]:
    found = list(Rater(checkpoint).scores(paths))
    return [each.score for each in found if not isinstance(each, Reject)]


def seconds(*works: Callable[[], object]) -> list[float]:
    """The median seconds of each, in turn `REPEATS` times after once."""
    taken = [[_timed(work)[1] for work in works] for _ in range(REPEATS + 1)]
    return [statistics.median(times[1:]) for times in zip(*taken, strict=True)]


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    began = time.perf_counter()
    found = work()
    return found, time.perf_counter() - began


def scoring_rows(folder: Path, count: int) -> list[list[str]]:
    """The demo's primary, whose crops are small, and images that are not."""
    tokenizer = make_tokenizer([], 0)
    model = models.make_model(models.DECODERS["primary"], tokenizer, 0)
    load.save(model, models.processor_of(model, tokenizer), folder / "demo")
    checkpoint = load.load(folder / "demo")
    rows = []
    for size in (CROP, KONIQ):
        paths = write_images(folder / f"{size[0]}", count, size)
        apart = np.abs(np.subtract(one_by_one(checkpoint, paths), batched(checkpoint, paths)))
        slow, fast = seconds(
            lambda paths=paths: one_by_one(checkpoint, paths),  # type: ignore[misc]
            lambda paths=paths: batched(checkpoint, paths),  # type: ignore[misc]
        )
        what = f"{count} images of {size[1]} × {size[0]}, the demo's model"
        rows.append(
            [what, f"{slow:.2f}", f"{fast:.2f}", f"{slow / fast:.1f}", f"{apart.max():.0e}"]
        )
    return rows


def asking_row(checkpoint: Checkpoint, path: Path) -> list[str]:
    """Six questions on one image: a prompt each, and one view of it."""
    rater = Rater(checkpoint)

    def apart() -> list[str]:
        return [rater.ask(path, question, ANSWER).text for question in QUESTIONS]

    def together() -> list[str]:
        view = rater.view(path)
        return [view.ask(question, ANSWER).text for question in QUESTIONS]

    rater.ask(path, QUESTIONS[0], 1)  # a first call allocates
    (answers, slow), (of_view, fast) = _timed(apart), _timed(together)
    what = f"{len(QUESTIONS)} questions on one image, 0.5B"
    return [
        what,
        f"{slow:.1f}",
        f"{fast:.1f}",
        f"{slow / fast:.1f}",
        "none" if answers == of_view else "some",
    ]


@dataclass(frozen=True)
class Limit:
    """One score's FLOPs and seconds, and the FLOPs a second of matrix products of the decoder's own
    shapes and type. `share`: how much of that rate scoring reaches."""

    tiles: int
    tokens: int
    flops: float
    seconds: float
    products: float

    @property
    def share(self) -> float:
        return self.flops / self.seconds / self.products


def limit(checkpoint: Checkpoint, path: Path) -> Limit:
    """One score beside matrix products, reading and resizing included."""
    rater = Rater(checkpoint)
    row = rater.prompter.score_prompt(path)
    tiles, tokens = len(row["pixel_values"]), len(row["input_ids"])
    config = checkpoint.model.config
    flops = analytic_flops(config, tiles, tokens) + 2 * config.text_config.hidden_size * 5
    text, dtype = config.text_config, checkpoint.model.dtype
    left = torch.randn(tokens, text.hidden_size, dtype=dtype)
    right = torch.randn(text.hidden_size, text.intermediate_size, dtype=dtype)
    out = left @ right
    products = 2 * left.numel() * text.intermediate_size * 20

    def multiply() -> None:
        for _ in range(20):
            torch.mm(left, right, out=out)

    scoring, multiplying = seconds(lambda: rater.score(path), multiply)
    return Limit(tiles, tokens, flops, scoring, products / multiplying)


def limit_text(found: Limit) -> str:
    return (
        f"One score at the 0.5B's shape ({found.tiles} tiles, {found.tokens:,} tokens, "
        f"{found.flops / 1e12:.1f} TFLOP) takes {found.seconds:.1f} s: {100 * found.share:.0f} % "
        f"of the {found.products / 1e9:.0f} GFLOP/s "
        "that matrix products of its decoder reach on this machine, reading and resizing included."
    )


def write(out: Path, images: int) -> None:
    """Measure on this machine's CPU, in one process."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = scoring_rows(folder, images)
        base = write_random(folder / "base", architecture("0.5b"))
        checkpoint = load.load(base, torch.float32)
        (path,) = write_images(folder / "one", 1, KONIQ)
        rows.append(asking_row(checkpoint, path))
        share = limit_text(limit(checkpoint, path))
    threads = torch.get_num_threads()
    write_section(
        out,
        "rating",
        f"By {command_line('rating', str(out), images=images)} on a CPU with {threads} threads, "
        f"float32, medians of {REPEATS} runs of each in turn; the questions once.",
        table(["what", "one by one, s", "Rater, s", "times as fast", "greatest difference"], rows),
        share,
    )
