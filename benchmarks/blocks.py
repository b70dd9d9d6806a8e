"""rim: Ray Data as the training uses it: blocks a second, the first block of an epoch, and bytes of
a row in the object store."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.bases import write_real_shape
from benchmarks.figures import Check, Found, Goal, alone, ratio
from benchmarks.pairs import fresh
from benchmarks.rows import make_run

TEXT = "Ray Data: blocks a second, first batch, bytes a row"
FLOATS = "pixel values in float32"
SIDE = 1536
"""Pixels of the square image whose bytes are counted: 17 tiles."""
CPUS = 4
MOST = CPUS / 0.05
"""Blocks a second that so many stand-ins make."""


def run(smoke: bool, folder: Path) -> Found:
    micro_batches, read = 36_000, 400
    made = make_run(
        folder, write_real_shape(folder / "base", 4096), 2, sizes=[(SIDE, SIDE)], frozen=False
    )
    found = fresh("benchmarks.blocks:bytes_of_row", {"run": str(made.path)}, inside=smoke).result
    packed, floats = found["packed"], found["floats"]
    same = found["same"]
    figures = [
        ratio("bytes of a row", FLOATS, "MB", [packed / 1e6], [floats / 1e6], None),
        alone("bytes of a row", "MB", [packed / 1e6], Goal(7.6, at_most=True)),
    ]
    if not smoke:
        asked = {"micro_batches": micro_batches, "read": read, "cpus": CPUS}
        earlier, later = fresh("benchmarks.blocks:executions", asked).result
        cpu = {kind: 1000 * seconds for kind, seconds in later["cpu"].items()}
        what = f"first batch of {micro_batches:,} blocks, later epochs"
        figures = [
            alone(
                "blocks over those of the stand-ins alone", "", [later["rate"] / MOST], Goal(0.9)
            ),
            alone(what, "s", [later["first"]], Goal(3, at_most=True)),
            alone(
                f"first batch of {earlier['blocks']:,} blocks, first epoch, with the start of the "
                "processes",
                "s",
                [earlier["first"]],
            ),
            alone("CPU of a block beside its encoding", "ms", [sum(cpu.values())]),
            *(alone(f"the same: {kind}", "ms", [value]) for kind, value in cpu.items()),
            alone("between two blocks of a process, median", "ms", [1000 * later["gaps"][0]]),
            alone("the same, 95th percentile", "ms", [1000 * later["gaps"][1]]),
            *figures,
        ]
    return Found(
        figures,
        [Check("a row after its way through the store", same, "equal" if same else "other")],
        {
            "micro-batches": micro_batches,
            "processes": CPUS,
            "encoding": "a stand-in of 50 ms and 1 MB",
            "row": f"an image of {SIDE} × {SIDE}",
        },
    )


def executions(micro_batches: int, read: int, cpus: int) -> list[dict[str, Any]]:
    """Two epochs of the Dataset, of which each rank reads so many blocks."""
    from qsit_ray.evaluation.studies.first_batch import measured

    return [asdict(execution) for execution in measured(micro_batches, read, cpus)]


def bytes_of_row(run: str) -> dict[str, Any]:
    """Bytes of a packed row, and of the same with pixel values as the processor makes them."""
    import numpy as np

    from qsit_ray.artifacts import RunFolder
    from qsit_ray.models.batch import Batches, pack, unpack
    from qsit_ray.models.load import load_processor
    from qsit_ray.run_config import opened

    folder = RunFolder(Path(run))
    models = opened(folder).models
    batch = Batches(folder.catalog, load_processor(models.primary), models.max_length).of([0])
    packed = pack(batch)
    back = unpack(packed)
    same = all(bool(np.array_equal(batch[key], back[key].numpy())) for key in batch)
    floats = sum(4 * v.size if key == "pixel_values" else v.nbytes for key, v in batch.items())
    return {"packed": len(packed), "floats": floats, "same": same}
