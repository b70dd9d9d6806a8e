"""Tokens and tiles of an image equal those of transformers' own processor."""

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import LlavaOnevisionProcessor
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from qsit_ray.data.encode import Encoder
from qsit_ray.demo.models import make_tokenizer
from qsit_ray.models.architectures import architecture, image_tiles, image_tokens, most_tiles
from qsit_ray.models.load import make_processor

REAL = architecture("7b")
SIDE = REAL.vision_config.image_size
PROCESSOR = SimpleNamespace(
    image_processor=SimpleNamespace(image_grid_pinpoints=REAL.image_grid_pinpoints),
    num_image_tokens=(SIDE // REAL.vision_config.patch_size) ** 2,
    vision_aspect_ratio=REAL.vision_aspect_ratio,
)
PROCESSOR._get_unpadded_features = lambda *args: LlavaOnevisionProcessor._get_unpadded_features(
    PROCESSOR, *args
)
sides = st.integers(20, 5000)


@settings(max_examples=400, deadline=None)
@given(sides, sides)
def test_the_real_models_tokens(height, width):
    wanted = LlavaOnevisionProcessor._get_number_of_features(PROCESSOR, height, width, SIDE, SIDE)
    assert image_tokens((height, width), REAL) == wanted


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 2500), st.integers(20, 2500))
def test_the_encoders_tokens_and_tiles_with_the_real_grids(tmp_path_factory, height, width):
    pixels = LlavaOnevisionImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_grid_pinpoints=REAL.image_grid_pinpoints
    )
    processor = make_processor(pixels, make_tokenizer([]), REAL)
    root = tmp_path_factory.getbasetemp()
    picture = Encoder(processor, root, 8192).picture(Image.new("RGB", (width, height)))
    size = height, width
    assert (image_tokens(size, REAL), image_tiles(size, REAL)) == (
        picture.tokens,
        len(picture.pixel_values),
    )


@given(sides, sides)
def test_no_image_takes_more_tiles_than_the_most(height, width):
    assert image_tiles((height, width), REAL) <= most_tiles(REAL)


def test_the_demos_crops(checkpoint, images):
    picture = Encoder(checkpoint.processor, images, 512).picture("a.png")
    config = checkpoint.model.config
    assert image_tokens((64, 64), config) == picture.tokens
    assert most_tiles(config) >= len(picture.pixel_values)
