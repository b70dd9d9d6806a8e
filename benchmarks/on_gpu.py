"""rim: the questions of a GPU, which two studies measure and write to docs/GPU.md."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures import Check, Found, Goal, alone, faster
from benchmarks.pairs import ROOT

TEXT = "on a GPU: training of four layers of the 7B, scoring at the 0.5B's shape"
PAGE = ROOT / "docs" / "GPU.md"
IMAGES = 256
RIVAL = "official flow, one image at a time"


def run(smoke: bool, folder: Path) -> Found:
    import torch

    if smoke:
        return Found(missing="measures only")
    if not torch.cuda.is_available():
        return Found(missing="no GPU here")
    from qsit_ray.evaluation.studies import gpu, gpu_rating

    rates = gpu.write(PAGE, 4, 30)
    speed = gpu_rating.write(PAGE, IMAGES)
    figures = [
        alone("primary, 4 layers of the 7B: rows", "a second", [rates.rows_per_second]),
        alone("the same: share of a step that waits for rows", "", [rates.stall]),
        *(
            alone("the same: model FLOPs utilisation", "", [m])
            for m in [rates.mfu]
            if m is not None
        ),
        faster(
            "scoring at the 0.5B's shape, bf16",
            RIVAL,
            [1 / speed.best],
            [1 / speed.official],
            Goal(1),
        ),
    ]
    return Found(
        figures,
        [Check("scores, bf16, of both", speed.apart < 0.1, f"{speed.apart:.1e} apart")],
        {"GPU": torch.cuda.get_device_name(), "images": IMAGES},
    )
