"""torch: six multiple-choice questions on one image: together, one at a time, on an image that was
read once, and by the official flow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bases import write_tiny
from benchmarks.figures import Found, Goal, faster, near
from benchmarks.pairs import cores, fresh, in_turn, timed, walls

TEXT = "six questions on one image (18 candidates)"
CANDIDATES = ("good", "fair", "poor")
EACH, REUSE = "a prompt a question", "image read once"
OFFICIAL = "official flow, one `generate` a question"
APART = 1e-3


def run(smoke: bool, folder: Path) -> Found:
    images, rounds = (1, 1) if smoke else (20, 3)
    tiny = fresh(
        "benchmarks.questions:sides",
        {
            "base": write_tiny(folder / "base", "primary"),
            "folder": str(folder / "crops"),
            "images": images,
            "rounds": rounds,
            "size": [64, 64],
            "rivals": [EACH, REUSE, OFFICIAL],
        },
        cores(),
        inside=smoke,
    ).result
    what, seconds, shares = f"{TEXT}, demo model", tiny["seconds"], tiny["shares"]
    figures = [
        faster(what, name, seconds["ours"], seconds[name], goal)
        for name, goal in ((EACH, Goal(2.0)), (REUSE, None), (OFFICIAL, None))
    ]
    checks = [
        near(f"demo model, shares of the candidates: {name}", shares["ours"], shares[name], APART)
        for name in (EACH, REUSE)
    ]
    if not smoke:
        large = fresh(
            "benchmarks.questions:at_05b", {"folder": str(folder / "05b")}, cores()
        ).result
        what, seconds, shares = f"{TEXT}, 0.5B shape", large["seconds"], large["shares"]
        figures += [
            faster(what, name, seconds["ours"], seconds[name], goal)
            for name, goal in ((OFFICIAL, Goal(4.0)), (REUSE, None))
        ]
        same = "0.5B shape, shares of the candidates"
        checks.append(near(same, shares["ours"], shares[REUSE], 1e-2))
    return Found(
        figures,
        checks,
        {
            "demo model": f"{images} images of 64 × 64, {rounds} rounds",
            "0.5B shape": "one image of 1024 × 768, float32, once",
            "torch threads": 1 if smoke else cores(),
        },
    )


def at_05b(folder: str) -> dict[str, Any]:
    """`sides` at the 0.5B's shape, with random weights."""
    from qsit_ray.evaluation.studies.random_model import write_random
    from qsit_ray.models.architectures import architecture

    base = write_random(Path(folder) / "base", architecture("0.5b"))
    return sides(base, str(Path(folder) / "image"), 1, 1, (768, 1024), (REUSE, OFFICIAL))


def sides(
    base: str,
    folder: str,
    images: int,
    rounds: int,
    size: Sequence[int],
    rivals: Sequence[str],
) -> dict[str, Any]:
    """Seconds of each way in turn, and the candidates' shares by each but the official flow, which
    generates a text, as long as a candidate at most."""
    import torch

    from qsit_ray.data.catalog import Question
    from qsit_ray.evaluation.studies.rating import QUESTIONS, official_answer, write_images
    from qsit_ray.models import load
    from qsit_ray.prompts import multiple_choice_prompt
    from qsit_ray.rating.rater import Rater

    checkpoint = load.load(base, torch.float32)
    rater = Rater(checkpoint)
    paths = write_images(Path(folder), images, (size[0], size[1]))
    asked: list[Question] = [
        {
            "question": question,
            "img_path": str(path.absolute()),
            "candidates": [*CANDIDATES],
            "correct_ans": CANDIDATES[0],
            "photograph": "",
        }
        for path in paths
        for question in QUESTIONS
    ]

    tokens = checkpoint.processor.tokenizer(list(CANDIDATES), add_special_tokens=False)
    longest = max(map(len, tokens["input_ids"]))

    def asked_of(question: str) -> str:
        return multiple_choice_prompt(question, CANDIDATES)

    def together() -> list[float]:
        return _flat(rater.answers(asked, Path("/")))

    def each() -> list[float]:
        return _flat(rater.choose(q["img_path"], q["question"], CANDIDATES) for q in asked)

    def reuse() -> list[float]:
        views = map(rater.view, paths)
        return _flat(view.choose(question, CANDIDATES) for view in views for question in QUESTIONS)

    def official() -> list[str]:
        return [
            official_answer(checkpoint, p, asked_of(q), longest) for p in paths for q in QUESTIONS
        ]

    ways: dict[str, Any] = {EACH: each, REUSE: reuse, OFFICIAL: official}
    together()  # warms up what all of them use
    works = {"ours": together, **{name: ways[name] for name in rivals}}
    found = in_turn({name: partial(timed, work) for name, work in works.items()}, rounds)
    return {
        "seconds": {name: walls(runs) for name, runs in found.items()},
        "shares": {name: runs[0].result for name, runs in found.items() if name != OFFICIAL},
    }


def _flat(choices: Any) -> list[float]:
    """The logarithms of all shares, in nats: of random weights one share is often nearly 1."""
    return [math.log(share) for choice in choices for share in choice.probabilities.values()]
