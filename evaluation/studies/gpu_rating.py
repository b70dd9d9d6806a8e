"""torch: scoring on a GPU at the 0.5B's shape: images a second by batch, beside the official flow.

Writes the section `rating` of docs/GPU.md.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from qsit_ray.errors import InputError
from qsit_ray.evaluation.studies.random_model import write_random
from qsit_ray.evaluation.studies.rating import KONIQ, one_by_one, write_images
from qsit_ray.evaluation.studies.sections import command_line, table, write_section
from qsit_ray.models.architectures import architecture
from qsit_ray.rating.rater import Rater
from qsit_ray.rating.results import Reject

BATCHES = (1, 8, 64)
SINGLE = 30
"""Images scored one at a time for the percentiles of their seconds."""


def scores(rater: Rater, paths: Sequence[Path]) -> tuple[np.ndarray, float]:
    """Scores and seconds of all, after a batch that allocates."""
    list(rater.scores(paths[:8]))
    torch.cuda.synchronize()
    began = time.perf_counter()
    found = [each.score for each in rater.scores(paths) if not isinstance(each, Reject)]
    return np.array(found), time.perf_counter() - began


@dataclass(frozen=True)
class Speed:
    """Images a second in bf16: of the best batch, and of the official flow; and how far apart their
    scores are."""

    best: float
    official: float
    apart: float


def write(out: Path, images: int) -> Speed:
    """Measure on this machine's GPU, in one process; write the section, and return the speed."""
    if not torch.cuda.is_available():
        raise InputError("no GPU here: this study measures GPUs")
    rows, apart, first, best = [], {}, None, 0.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        base = write_random(folder / "base", architecture("0.5b"))
        paths = write_images(folder / "images", images, KONIQ)
        for precision in ("bf16", "fp32"):
            rater = Rater.load(base, precision=precision)
            row = rater.prompter.score_prompt(paths[0])
            tiles, tokens = len(row["pixel_values"]), len(row["input_ids"])
            found = {}
            # Float32 shows how far batches are apart; its speed is of few images.
            few = paths if precision == "bf16" else paths[: max(8, images // 8)]
            for batch in BATCHES:
                rater.batch_tokens = batch * tokens + 1
                torch.cuda.reset_peak_memory_stats()
                found[batch], seconds = scores(rater, few)
                peak = torch.cuda.max_memory_allocated() / 2**30
                speed = len(few) / seconds
                best = max(best, speed) if precision == "bf16" else best
                rows.append([f"Rater, {precision}", str(batch), f"{speed:.1f}", f"{peak:.1f}"])
                print(rows[-1], flush=True)
            apart[precision] = max(float(np.abs(found[1] - each).max()) for each in found.values())
            if precision == "bf16":
                first = [_timed(rater, path) for path in paths[:SINGLE]]
                few = paths[: max(8, images // 8)]
                one_by_one(rater.checkpoint, few[:2])
                began = time.perf_counter()
                official = np.array(one_by_one(rater.checkpoint, few))
                slow = len(few) / (time.perf_counter() - began)
                rows.append(["one by one, bf16", "1", f"{slow:.1f}", ""])
                print(rows[-1], flush=True)
                apart["one by one"] = float(np.abs(official - found[1][: len(few)]).max())
            del rater
            torch.cuda.empty_cache()
    assert first is not None
    middle, late = statistics.median(first), sorted(first)[int(0.95 * len(first))]
    write_section(
        out,
        "rating",
        f"By {command_line('gpu_rating', str(out), images=images)} on {datetime.now(UTC).date()}: "
        f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}; {images} files of "
        f"{KONIQ[1]} × {KONIQ[0]}, {tiles} tiles and {tokens:,} tokens each, reading and resizing "
        "included.",
        table(["what", "images at once", "images a second", "peak memory, GiB"], rows),
        f"One image at a time in bf16: p50 {1e3 * middle:.0f} ms, p95 {1e3 * late:.0f} ms. "
        "The greatest difference of a score between batches is "
        f"{apart['bf16']:.1e} in bf16 and {apart['fp32']:.1e} in float32; between bf16 and one by "
        f"one {apart['one by one']:.1e}.",
    )
    return Speed(best, slow, apart["one by one"])


def _timed(rater: Rater, path: Path) -> float:
    began = time.perf_counter()
    rater.score(path)
    return time.perf_counter() - began
