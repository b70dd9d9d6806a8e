"""torch: scores of many small images by a Rater, beside the released script's flow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.bases import write_tiny
from benchmarks.figures import Found, Goal, faster, near, ratio
from benchmarks.pairs import cores, fresh

TEXT = "scoring 200 images, demo model"
RIVAL = "official flow, one image at a time"
LIMIT = "limit: matrix products of as many operations"
APART = 1e-3
"""Of a level, between batches in float32."""


def run(smoke: bool, folder: Path) -> Found:
    images, rounds = (6, 1) if smoke else (200, 5)
    base = write_tiny(folder / "base", "primary")
    given = {"base": base, "folder": str(folder / "images"), "images": images, "rounds": rounds}
    found = fresh("benchmarks.scoring:sides", given, cores(), inside=smoke).result
    return Found(
        [
            faster(TEXT, RIVAL, found["ours"], found["theirs"], Goal(5.0)),
            ratio(f"{TEXT}: of the limit", LIMIT, "s", found["ours"], found["limit"], None),
        ],
        [near("scores", found["scores"], found["official"], APART)],
        {
            "images": images,
            "pixels": "64 × 64",
            "rounds": rounds,
            "torch threads": 1 if smoke else cores(),
            "ours, where the time goes": found["profile"],
        },
    )


def sides(base: str, folder: str, images: int, rounds: int) -> dict[str, Any]:
    """Seconds of both sides and of the limit in turn, after once, the scores, and a profile."""
    from benchmarks.operations import where_time_goes
    from benchmarks.pairs import in_turn, timed, walls
    from qsit_ray.evaluation.studies.rating import CROP, batched, one_by_one, write_images
    from qsit_ray.models import load

    checkpoint = load.load(base)
    paths = write_images(Path(folder), images, CROP)
    scores, official = batched(checkpoint, paths), one_by_one(checkpoint, paths)
    products = _products(checkpoint, paths)
    found = in_turn(
        {
            "ours": lambda: timed(lambda: batched(checkpoint, paths)),
            "theirs": lambda: timed(lambda: one_by_one(checkpoint, paths)),
            "limit": lambda: timed(products),
        },
        rounds,
    )
    times = {name: walls(runs) for name, runs in found.items()}
    profile = where_time_goes(lambda: batched(checkpoint, paths))
    return {**times, "scores": scores, "official": official, "profile": profile}


def _products(checkpoint: Any, paths: list[Path]) -> Callable[[], None]:
    """Matrix products of a decoder's layer, of as many operations as the images' scores take."""
    import torch

    from qsit_ray.evaluation.efficiency import analytic_flops
    from qsit_ray.rating.rater import Rater

    rater, text = Rater(checkpoint), checkpoint.model.config.text_config
    row = rater.prompter.score_prompt(paths[0])
    tiles, tokens = len(row["pixel_values"]), len(row["input_ids"])
    operations = analytic_flops(checkpoint.model.config, tiles, tokens) * len(paths)
    left = torch.randn(rater.batch_tokens, text.hidden_size)
    right = torch.randn(text.hidden_size, text.intermediate_size)
    times = round(operations / (2 * left.numel() * text.intermediate_size))

    def multiply() -> None:
        for _ in range(times):
            left @ right

    return multiply
