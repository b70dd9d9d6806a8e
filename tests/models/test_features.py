"""Remembered features change the speed and nothing else."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from qsit_ray.data.encode import Encoder, collate
from qsit_ray.models.features import GROUP, remember_features, write_features
from qsit_ray.models.loss import answer_loss, tensors
from qsit_ray.models.tiles import accept_tiles
from qsit_ray.models.trainable import freeze


@pytest.fixture
def model(checkpoint):
    """A copy of the tiny model with its vision tower frozen."""
    copied = copy.deepcopy(checkpoint.model)
    freeze(copied, vision=True)
    return copied


@pytest.fixture
def batch_of(checkpoint):
    """Batches with one answer for each image, by the images' numbers."""
    encoder = Encoder(checkpoint.processor, Path(), max_length=512)
    chance = np.random.default_rng(0)
    pictures = [
        Image.fromarray(chance.integers(0, 255, (64, 64, 3), dtype=np.uint8)) for _ in range(12)
    ]

    def make(numbers):
        rows = [encoder.answer(pictures[n], "<image>\nWhat is wrong?", "blur") for n in numbers]
        return tensors(collate(rows, checkpoint.processor.tokenizer.pad_token_id))

    return make


def test_losses_and_gradients_are_those_of_the_tower(model, batch_of):
    remembering = copy.deepcopy(model)
    remember_features(remembering)
    for numbers in ([0, 1, 2], [2, 3], [0, 1, 2]):
        batch = batch_of(numbers)
        for each in (model, remembering):
            each.zero_grad()
            answer_loss(each, batch)[0].backward()
        assert answer_loss(remembering, batch)[0].item() == pytest.approx(
            answer_loss(model, batch)[0].item(), rel=1e-6
        )
        for ours, theirs in zip(remembering.parameters(), model.parameters(), strict=True):
            if theirs.grad is not None:
                torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_features_do_not_depend_on_earlier_batches(model, batch_of):
    first, second = copy.deepcopy(model), copy.deepcopy(model)
    for each in (first, second):
        remember_features(each)
    with torch.no_grad():
        answer_loss(second, batch_of([7, 3, 11, 5]))
        answer_loss(second, batch_of([1]))
        batch = batch_of([3, 0, 5, 9])
        assert answer_loss(first, batch)[0].item() == answer_loss(second, batch)[0].item()


def test_each_tile_is_computed_once(model, batch_of):
    seen = []
    embeddings = model.model.vision_tower.embeddings
    embeddings.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    remember_features(model)
    batch = batch_of([0, 1, 0, 1])
    answer_loss(model, batch)
    tiles = len(batch["pixel_values"]) // 2
    assert seen == [GROUP] * -(-tiles // GROUP)
    answer_loss(model, batch_of([1, 0]))
    assert len(seen) == -(-tiles // GROUP)


def test_stored_features_are_read_and_give_the_same_losses(model, batch_of, tmp_path):
    reading = copy.deepcopy(model)
    batch = batch_of([0, 1, 2, 3])
    write_features(model, batch["pixel_values"], tmp_path)
    seen = []
    embeddings = reading.model.vision_tower.embeddings
    embeddings.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    remember_features(reading, tmp_path)
    remember_features(model)
    assert answer_loss(reading, batch)[0].item() == answer_loss(model, batch)[0].item()
    assert not seen
    more = batch_of([2, 8])
    assert answer_loss(reading, more)[0].item() == answer_loss(model, more)[0].item()
    assert len(seen) == 1


def test_another_towers_features_are_not_used(model, batch_of, tmp_path):
    batch = batch_of([0, 1])
    write_features(model, batch["pixel_values"], tmp_path)
    other = copy.deepcopy(model)
    for weight in other.model.vision_tower.parameters():
        weight.data.mul_(1.5)
    plain = copy.deepcopy(other)
    remember_features(other, tmp_path)
    assert answer_loss(other, batch)[0].item() == pytest.approx(
        answer_loss(plain, batch)[0].item(), rel=1e-6
    )


def test_another_normalisations_features_are_not_used(model, batch_of, checkpoint, tmp_path):
    batch = batch_of([0, 1])
    write_features(model, batch["pixel_values"], tmp_path)
    images = copy.copy(checkpoint.processor.image_processor)
    images.image_mean = [0.4, 0.5, 0.6]
    accept_tiles(model, images)
    plain = copy.deepcopy(model)
    remember_features(model, tmp_path)
    assert answer_loss(model, batch)[0].item() == pytest.approx(
        answer_loss(plain, batch)[0].item(), rel=1e-6
    )


def test_a_tower_that_is_trained_is_refused(checkpoint):
    trained = copy.deepcopy(checkpoint.model)
    freeze(trained, vision=False)
    with pytest.raises(ValueError, match="is trained"):
        remember_features(trained)


def test_a_tower_in_bf16_is_remembered_as_well(model, batch_of, tmp_path):
    """Under `train.precision` bf16, and where a released model, stored in bf16, is loaded as it is.

    In float32 the same weights are the same tower: what one has stored the other reads.
    """
    low = copy.deepcopy(model).bfloat16()
    batch = batch_of([0, 1, 2, 3])
    tiles = batch["pixel_values"]
    store = write_features(low.float(), tiles, tmp_path)
    plain, reading = copy.deepcopy(low).bfloat16(), copy.deepcopy(low).bfloat16()
    assert write_features(plain, tiles, tmp_path) == store
    remember_features(reading, tmp_path)
    embeddings = reading.model.vision_tower.embeddings
    embeddings.register_forward_hook(lambda *_: pytest.fail("computed again"))
    assert answer_loss(reading, batch)[0].item() == pytest.approx(
        answer_loss(plain, batch)[0].item(), rel=0.01
    )
    cast = {**batch, "pixel_values": batch["pixel_values"].bfloat16()}  # as the engine does
    remember_features(plain, tmp_path)
    assert answer_loss(plain, cast)[0].isfinite()
