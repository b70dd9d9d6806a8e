"""A tiny checkpoint with random weights, and two images."""

import numpy as np
import pytest
from PIL import Image

from qsit_ray.demo import models
from qsit_ray.demo.pretrain import make_tokenizer
from qsit_ray.models.load import Checkpoint


@pytest.fixture(scope="session")
def checkpoint():
    tokenizer = make_tokenizer([], 0)
    model = models.make_model(models.DECODERS["proxy"], tokenizer, 0)
    return Checkpoint(model, models.processor_of(model, tokenizer), "")


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / name)
    return tmp_path
