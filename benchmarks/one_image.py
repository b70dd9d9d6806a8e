"""torch: one score at the 0.5B's shape, beside the matrix products that this machine can do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.figures import Condition, Figure, Found, Goal, alone
from benchmarks.pairs import cores, fresh

TEXT = "one image at the 0.5B shape, share of the matrix products' rate"
PRECISIONS = ("fp32", "bf16")


def run(smoke: bool, folder: Path) -> Found:
    if smoke:
        return Found(missing="no rival gives a result to compare")
    figures: list[Figure] = []
    conditions: dict[str, Condition] = {"torch threads": cores(), "pixels": "1024 × 768"}
    for precision in PRECISIONS:
        found = fresh(
            "benchmarks.one_image:limit_of",
            {"folder": str(folder / precision), "precision": precision},
            cores(),
        ).result
        what = f"one image at the 0.5B shape, {precision}: share of matrix products' rate"
        figures.append(alone(what, "", [found["share"]], Goal(0.9)))
        conditions[f"{precision}, seconds a score"] = round(found["seconds"], 2)
        conditions[f"{precision}, GFLOP/s of products"] = round(found["products"] / 1e9)
        conditions[f"{precision}, where the time goes"] = found["profile"]
    return Found(figures, [], conditions)


def limit_of(folder: str, precision: str) -> dict[str, Any]:
    """The seconds of a score, their limit, and a profile of another score."""
    import torch

    from benchmarks.operations import where_time_goes
    from qsit_ray.evaluation.studies.random_model import write_random
    from qsit_ray.evaluation.studies.rating import KONIQ, limit, write_images
    from qsit_ray.models import load
    from qsit_ray.models.architectures import architecture
    from qsit_ray.rating.rater import Rater

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    checkpoint = load.load(write_random(Path(folder) / "base", architecture("0.5b")), dtype)
    (path,) = write_images(Path(folder) / "image", 1, KONIQ)
    found = limit(checkpoint, path)
    return {
        "share": found.share,
        "seconds": found.seconds,
        "products": found.products,
        "profile": where_time_goes(lambda: Rater(checkpoint).score(path)),
    }
