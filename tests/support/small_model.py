"""The demo's small model without training, as a folder; and images of noise."""

import io

import numpy as np
from PIL import Image


def write(folder):
    """Returns the folder."""
    from qsit_ray.demo import models
    from qsit_ray.demo.pretrain import make_tokenizer
    from qsit_ray.models import load

    tokenizer = make_tokenizer([], 0)
    made = models.make_model(models.DECODERS["proxy"], tokenizer, 0)
    load.save(made, models.processor_of(made, tokenizer), folder)
    return folder


def image(seed, size=(60, 70), form="PNG"):
    """The bytes of an image file, (height, width) pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()
