"""uint8 tiles give the numbers that transformers' own processor gives."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from qsit_ray.data.encode import Encoder, collate
from qsit_ray.demo.pretrain import make_tokenizer
from qsit_ray.models.architectures import architecture, tokens_of_several
from qsit_ray.models.batch import pack, unpack
from qsit_ray.models.load import make_processor
from qsit_ray.models.loss import tensors
from qsit_ray.models.tiles import Normalisation

SIGLIP = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def photograph(height, width):
    """Fine and coarse detail, over the whole range of values."""
    chance = np.random.default_rng(0)
    coarse = Image.fromarray(chance.integers(0, 256, (9, 12, 3), np.uint8)).resize((width, height))
    fine = chance.integers(-40, 41, (height, width, 3))
    return Image.fromarray((np.asarray(coarse) + fine).clip(0, 255).astype(np.uint8))


def encoder(**settings):
    """An Encoder with the released models' grids and 384-pixel tiles."""
    config = architecture("7b")
    images = LlavaOnevisionImageProcessorPil(**settings)
    return Encoder(make_processor(images, make_tokenizer([], 0), config), Path(), 1 << 20)


@pytest.mark.parametrize("settings", [SIGLIP, {}, {"do_normalize": False}, {"do_rescale": False}])
def test_every_value_is_the_processors(settings):
    """All 256 in each channel, bit for bit: SigLIP's constants, CLIP's, and without either step."""
    images = LlavaOnevisionImageProcessorPil(**settings)
    values = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(16, 16), (3, 16, 16))
    theirs = values.astype(np.float32)
    if images.do_rescale:
        theirs = images.rescale(values, images.rescale_factor)
    if images.do_normalize:
        theirs = images.normalize(theirs, images.image_mean, images.image_std)
    ours = Normalisation.of(images)(torch.from_numpy(values.copy())[None])[0]
    assert ours.dtype == torch.float32
    assert np.array_equal(ours.numpy(), theirs)


@pytest.mark.parametrize("constants", [SIGLIP, {}], ids=["siglip", "clip"])
@pytest.mark.parametrize("size", [(3000, 4000), (768, 1024), (200, 4000)])
def test_a_real_image_is_the_processors_bit_for_bit(constants, size):
    """A photograph of 12 megapixels, of KonIQ's size, and a strip, on the real grids."""
    ours = encoder(**constants)
    shown = photograph(*size)
    theirs = ours.processor.image_processor(images=[shown], return_tensors="np")
    picture = ours.picture(shown)
    assert picture.pixel_values.dtype == np.uint8
    found = Normalisation.of(ours.processor.image_processor)(torch.from_numpy(picture.pixel_values))
    assert np.array_equal(found.numpy(), theirs["pixel_values"][0])
    assert picture.size == tuple(theirs["image_sizes"][0])


def test_real_images_of_one_row_are_the_processors_bit_for_bit():
    """One tile and 730 tokens each, where a photograph of 12 megapixels alone has 31 and 7,309."""
    ours = encoder(**SIGLIP)
    shown = [photograph(*size) for size in [(3000, 4000), (768, 1024), (200, 4000)]]
    theirs = ours.processor.image_processor(images=[shown], return_tensors="np")
    config = architecture("7b")
    for number, image in enumerate(shown):
        picture = ours.picture(image, alone=False)
        normalise = Normalisation.of(ours.processor.image_processor)
        found = normalise(torch.from_numpy(picture.pixel_values))
        assert np.array_equal(found.numpy(), theirs["pixel_values"][number])
        assert (len(picture.pixel_values), picture.tokens) == (1, tokens_of_several(config))
        assert picture.tokens == ours.image_tokens(image, alone=False) == 730


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300))
def test_images_of_any_size_are_the_processors(height, width):
    images = LlavaOnevisionImageProcessorPil(
        size={"height": 32, "width": 32},
        image_grid_pinpoints=[[32, 32], [32, 96], [64, 64], [96, 32]],
    )
    shown = photograph(height, width)
    theirs = images(images=[shown], return_tensors="np")["pixel_values"][0]
    plain = {"do_rescale": False, "do_normalize": False}
    tiles = images(images=[shown], **plain, return_tensors="np")["pixel_values"][0]
    assert tiles.dtype == np.uint8
    found = Normalisation.of(images)(torch.from_numpy(tiles))
    assert np.array_equal(found.numpy(), theirs)


def test_a_row_takes_a_quarter_of_the_bytes():
    """Of what it took as float32 tiles and int64 tokens: 12 megapixels, 31 tiles of 384 pixels."""
    row = encoder(**SIGLIP).answer(photograph(3000, 4000), "<image>\nHow good?", "The best.")
    assert row["pixel_values"].shape == (31, 3, 384, 384)
    batch = collate([row], 0)
    before = 4 * batch["pixel_values"].size + sum(
        8 * array.size for name, array in batch.items() if name != "pixel_values"
    )
    packed = pack(batch)
    assert len(packed) <= before / 4
    back = unpack(packed)
    assert set(back) == set(batch)
    for name, tensor in tensors(batch).items():
        assert back[name].dtype == tensor.dtype and torch.equal(back[name], tensor)


@pytest.fixture
def batch(checkpoint):
    """Three rows of different length, as uint8 tiles."""
    encode = Encoder(checkpoint.processor, Path(), 512)
    rows = [
        encode.answer(photograph(20 * n, 64), "<image>\nQ" + " and" * n, "A") for n in (2, 3, 4)
    ]
    return tensors(collate(rows, checkpoint.processor.tokenizer.pad_token_id))


def test_the_model_normalises(checkpoint, batch):
    """Its logits are those for the processor's own numbers."""
    images = checkpoint.processor.image_processor
    float_tiles = Normalisation.of(images)(batch["pixel_values"])
    with torch.no_grad():
        for model in (checkpoint.model, copy.deepcopy(checkpoint.model).to(torch.bfloat16)):
            ours = model(**batch).logits
            theirs = model(**{**batch, "pixel_values": float_tiles}).logits
            assert torch.equal(ours, theirs)
            assert not torch.equal(
                ours, model(**{**batch, "pixel_values": batch["pixel_values"].float()}).logits
            )
