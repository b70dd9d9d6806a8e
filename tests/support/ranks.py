"""What the ranks of `tests/train/steps.py` leave, put together as Ray Train stores it."""

import shutil

from qsit_ray.train.state import TrainState


def checkpoint(results):
    """The ranks' parts in one folder."""
    folder, world_size = results["folder"] / "checkpoint", results["world_size"]
    for rank in range(world_size):
        shutil.copytree(results["folder"] / f"rank{rank}", folder, dirs_exist_ok=True)
    TrainState(world_size=world_size).write(folder)
    return folder
