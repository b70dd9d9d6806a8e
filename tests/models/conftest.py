"""Two images, and a small model of the 7B's kind."""

import numpy as np
import pytest
import wide_model
from PIL import Image

from qsit_ray.models import load


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / name)
    return tmp_path


@pytest.fixture(scope="session")
def wide(tmp_path_factory):
    """Any-resolution tiles of 384 pixels, an untied head."""
    return load.load(wide_model.write(tmp_path_factory.mktemp("wide") / "base"))
