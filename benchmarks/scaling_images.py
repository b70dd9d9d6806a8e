"""rim: the time to encode an image over its size, beside the processor's own call and the JPEG's
decoding."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bases import real_shape
from benchmarks.figures import Check, Curve, Found, faster, near
from benchmarks.pairs import fresh
from benchmarks.rows import write_image

TEXT = "growth with image size: encoding of an image"
OURS, PROCESSOR, DECODING = "ours", "processor, as documented", "decoding alone"
UNSCALED = "processor, tiles alone"
"""As ours: pixels in 8 bits, which the model scales and normalises."""
QUESTION = "How good is it?"
SIZES = ((384, 512), (768, 1024), (1536, 2048), (3000, 4000), (6000, 8000))
"""(height, width): .2 to 48 megapixels."""


def run(smoke: bool, folder: Path) -> Found:
    from qsit_ray.evaluation.studies.random_model import write_random

    sizes, rounds = (((96, 128), (384, 512)), 1) if smoke else (SIZES, 3)
    base = write_random(folder / "base", real_shape(4096))  # with the released models' grids
    files = {}
    for number, (height, width) in enumerate(sizes):
        files[height * width / 1e6] = folder / f"{number}.jpg"
        write_image(folder / f"{number}.jpg", (height, width), np.random.default_rng(number))
    lines: dict[str, list[tuple[float, float]]] = {
        name: [] for name in (OURS, UNSCALED, PROCESSOR, DECODING)
    }
    figures, checks = [], []
    for megapixels, file in files.items():
        given = {"base": base, "image": str(file), "rounds": rounds}
        found = fresh("benchmarks.scaling_images:sides", given, inside=smoke).result
        for name, line in lines.items():
            line.append((megapixels, float(np.median(found[name]))))
        what = f"encoding of an image of {megapixels:.3g} megapixels"
        figures += [
            faster(what, name, found[OURS], found[name], None) for name in (UNSCALED, PROCESSOR)
        ]
        checks.append(Check(f"{what}: tokens", found["same"], f"{found['tokens']:,}"))
        checks.append(near(f"{what}: values that differ", found["apart"], 0.0, 0.0))
    return Found(
        figures,
        checks,
        {"rounds": rounds, "threads": 1, "grids": "the released models' 36"},
        curve=Curve("Image size", "megapixels", "seconds an image", lines, DECODING),
    )


def sides(base: str, image: str, rounds: int) -> dict[str, Any]:
    """Seconds of each side, after once; the tokens of both, and how far pixels are apart."""
    from PIL import Image

    from benchmarks.pairs import in_turn, timed, walls
    from qsit_ray.data.encode import Encoder, asked
    from qsit_ray.models.load import load_processor

    processor = load_processor(base)
    encoder = Encoder(processor, Path(image).parent, 32_768)
    question = f"<image>\n{QUESTION}"

    def decoded() -> Any:
        with Image.open(image) as file:
            return file.convert("RGB")

    def tiles_alone() -> Any:
        return processor.image_processor(
            images=[[decoded()]], do_rescale=False, do_normalize=False, return_tensors="np"
        )

    ways = {
        OURS: lambda: encoder.prompt(Path(image), question),
        PROCESSOR: lambda: processor(text=asked(question), images=decoded(), return_tensors="pt"),
        UNSCALED: tiles_alone,
        DECODING: decoded,
    }
    ours, theirs = ways[OURS](), ways[PROCESSOR]()
    apart = np.abs(ours["pixel_values"] - np.float64(tiles_alone()["pixel_values"][0])).max()
    tokens = ours["input_ids"].tolist()
    found = in_turn({name: partial(timed, way) for name, way in ways.items()}, rounds)
    return {
        **{name: walls(runs) for name, runs in found.items()},
        "same": tokens == theirs["input_ids"][0].tolist(),
        "tokens": len(tokens),
        "apart": float(apart),
    }
