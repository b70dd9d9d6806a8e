"""torch: scores of many small images by a Rater, beside the released script's flow."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bases import write_tiny
from benchmarks.figures import Found, Goal, faster, near
from benchmarks.pairs import cores, fresh

TEXT = "scoring 200 images, demo model"
RIVAL = "official flow, one image at a time"
APART = 1e-3
"""Of a level, between batches in float32."""


def run(smoke: bool, folder: Path) -> Found:
    images, rounds = (6, 1) if smoke else (200, 5)
    base = write_tiny(folder / "base", "primary")
    given = {"base": base, "folder": str(folder / "images"), "images": images, "rounds": rounds}
    found = fresh("benchmarks.scoring:sides", given, cores(), inside=smoke).result
    return Found(
        [faster(TEXT, RIVAL, found["ours"], found["theirs"], Goal(5.0))],
        [near("scores", found["scores"], found["official"], APART)],
        {
            "images": images,
            "pixels": "64 × 64",
            "rounds": rounds,
            "torch threads": 1 if smoke else cores(),
        },
    )


def sides(base: str, folder: str, images: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of both sides in turn, after once, and their scores."""
    from benchmarks.pairs import in_turn, timed, walls
    from qsit_ray.evaluation.studies.rating import CROP, batched, one_by_one, write_images
    from qsit_ray.models import load

    checkpoint = load.load(base)
    paths = write_images(Path(folder), images, CROP)
    scores, official = batched(checkpoint, paths), one_by_one(checkpoint, paths)
    found = in_turn(
        {
            "ours": lambda: timed(lambda: batched(checkpoint, paths)),
            "theirs": lambda: timed(lambda: one_by_one(checkpoint, paths)),
        },
        rounds,
    )
    times = {name: walls(runs) for name, runs in found.items()}
    return {**times, "scores": scores, "official": official}
