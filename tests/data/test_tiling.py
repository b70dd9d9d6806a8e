"""Tiles cut from a picture are those of transformers' processor, value for value."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from qsit_ray.data.tiling import cut_tiles, is_plain

RELEASED = LlavaOnevisionImageProcessorPil()
SMALL = LlavaOnevisionImageProcessorPil(
    size={"height": 48, "width": 48}, image_grid_pinpoints=[[48, 48], [48, 96], [96, 48], [96, 144]]
)


BILINEAR = LlavaOnevisionImageProcessorPil(
    size={"height": 48, "width": 48}, image_grid_pinpoints=[[96, 96]], resample=2
)


def processors(rgb, processor):
    """What the processor itself gives."""
    made = processor(images=[[rgb]], do_rescale=False, do_normalize=False, return_tensors="np")
    return np.asarray(made["pixel_values"][0])


def picture(height, width, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(noise)


@pytest.mark.parametrize("size", [(1, 1), (768, 1024), (3000, 4000), (60, 2999), (2999, 60)])
def test_the_released_grids_of_images_up_to_12_megapixels(size):
    rgb = picture(*size)
    found = cut_tiles(rgb, RELEASED)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    assert np.array_equal(found, processors(rgb, RELEASED))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 300), st.integers(1, 300), st.integers(0, 9), st.sampled_from([SMALL, BILINEAR])
)
def test_any_size_gives_the_processors_tiles(height, width, seed, processor):
    rgb = picture(height, width, seed)
    assert np.array_equal(cut_tiles(rgb, processor), processors(rgb, processor))


@pytest.mark.parametrize(
    "changed",
    [
        {"do_resize": False},
        {"do_center_crop": True, "crop_size": {"height": 48, "width": 48}},
        {"crop_size": {"height": 24, "width": 24}},
        {"size": {"height": 48, "width": 96}},
        {"size": {"shortest_edge": 48}},
        {"image_grid_pinpoints": [[48, 48], [48, 100]]},
    ],
)
def test_a_processor_that_does_more_is_told(changed):
    assert is_plain(RELEASED) and is_plain(SMALL)
    settings = {"size": {"height": 48, "width": 48}, "image_grid_pinpoints": [[48, 96]], **changed}
    assert not is_plain(LlavaOnevisionImageProcessorPil(**settings))
