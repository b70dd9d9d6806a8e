"""torch: a DeepSpeed checkpoint converted to load on any number of ranks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from qsit_ray import artifacts

TAG = "deepspeed"
"""The folder of DeepSpeed's files in a checkpoint, as the ranks wrote them."""
UNIVERSAL = "universal"
"""Those that any number of ranks loads."""


def convert(folder: Path, tag: str) -> None:
    """Write `folder`/universal from the ZeRO checkpoint `folder`/`tag`, unless it exists.

    It takes as much disk space as the checkpoint. Raises RuntimeError with the end of the
    converter's output when it fails.
    """
    if (folder / UNIVERSAL).is_dir():
        return
    with artifacts.atomic(folder / UNIVERSAL) as temporary:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "deepspeed.checkpoint.ds_to_universal",
                f"--input_folder={folder / tag}",
                f"--output_folder={temporary}",
                "--num_extract_workers=1",
                "--num_merge_workers=1",
                # The converter needs state that checkpoints of stages 1 and 2 lack.
                "--inject_missing_state",
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{folder}: no universal checkpoint: {done.stderr[-500:]}")


@contextmanager
def loads_universal(engine: Any) -> Iterator[None]:
    """A block in which a DeepSpeed engine loads universal checkpoints instead of its own.

    At stage 3 DeepSpeed 0.19 gives every group of parameters the rate and decay of the checkpoint's
    first group, and all of them one shared step counter, which each group then increments. Both are
    corrected here; otherwise the next steps would differ from an uninterrupted training's.
    """
    groups = engine.optimizer.param_groups
    own = [{key: group[key] for key in group if key != "params"} for group in groups]
    engine._config.load_universal_checkpoint = True
    try:
        yield
    finally:
        engine._config.load_universal_checkpoint = False
    for group, values in zip(engine.optimizer.param_groups, own, strict=True):
        group.update(values)
    for state in engine.optimizer.optimizer.state.values():
        if isinstance(state.get("step"), Tensor):
            state["step"] = state["step"].clone()
