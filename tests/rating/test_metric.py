"""A Rater called as pyiqa's metrics are: the scores are those of the same pictures."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from qsit_ray.errors import InputError
from qsit_ray.prompts import OFFICIAL
from qsit_ray.rating.metric import Metric
from qsit_ray.rating.rater import Rater


@pytest.fixture(scope="module")
def rater(checkpoint):
    return Rater(checkpoint)


@pytest.fixture(scope="module")
def pixels():
    """uint8 [4, H, W, 3]; each darker than the one before."""
    noise = np.random.default_rng(0).integers(0, 256, (4, 60, 90, 3), np.uint8)
    return noise // np.array([1, 2, 3, 4], np.uint8)[:, None, None, None]


@pytest.fixture(scope="module")
def expected(rater, pixels):
    found = [rater.score(Image.fromarray(each)).score for each in pixels]
    assert len(set(found)) == 4  # a mistaken order would be seen
    return found


def planes(pixels):
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_a_batch_has_the_scores_of_its_pictures_in_order(rater, pixels, expected, dtype):
    batch = planes(pixels) if dtype == torch.uint8 else planes(pixels).to(dtype) / 255
    kept = batch.clone()
    found = Metric(rater)(batch)
    assert (found.shape, found.dtype, found.device) == ((4,), torch.float32, batch.device)
    assert not found.requires_grad
    assert found.tolist() == pytest.approx(expected, abs=1e-4)
    assert Metric(rater)(batch.flip(0)).tolist() == pytest.approx(expected[::-1], abs=1e-4)
    assert torch.equal(batch, kept)


def test_one_image_of_any_form_is_a_batch_of_one(rater, pixels, expected, tmp_path):
    picture = Image.fromarray(pixels[1])
    picture.save(tmp_path / "a.png")
    content = io.BytesIO()
    picture.save(content, "png")
    alone = planes(pixels)[1]
    forms = [alone / 255, alone, alone[None], tmp_path / "a.png", str(tmp_path / "a.png"), picture]
    for form in [*forms, content.getvalue()]:
        found = Metric(rater)(form)
        assert (found.shape, found.dtype) == ((1,), torch.float32)
        assert found.item() == pytest.approx(expected[1], abs=1e-4)


def test_a_grey_batch_and_none(rater, pixels):
    grey = planes(pixels)[:2, :1]
    assert torch.equal(Metric(rater)(grey), Metric(rater)(grey.expand(2, 3, 60, 90)))
    assert Metric(rater)(torch.zeros(0, 3, 60, 90)).shape == (0,)


def test_what_arithmetic_leaves_beyond_the_range_is_cut(rater, pixels, expected):
    batch = planes(pixels) / 255
    beyond = torch.where(batch == 0, -5e-7, torch.where(batch == 1, 1 + 5e-7, batch))
    assert Metric(rater)(beyond).tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("value", "words"),
    [(1.1, "image 3: floats from"), (-0.1, "image 3: floats from"), (float("nan"), "image 3")],
)
def test_values_that_are_no_image_are_refused_before_any_is_scored(
    rater, pixels, monkeypatch, value, words
):
    batch = planes(pixels) / 255
    batch[2, 1, 5, 5] = value
    monkeypatch.setattr(Rater, "scores", lambda *_: pytest.fail("scored"))
    with pytest.raises(InputError, match=words):
        Metric(rater)(batch)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(2, 60, 90, 3), r"shape \(2, 60, 90, 3\); expected N × 3 × H × W"),
        (torch.zeros(60, 90), r"shape \(60, 90\)"),
        (torch.zeros(1, 2, 3, 8, 8), r"shape \(1, 2, 3, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), "torch.int64; expected uint8 or floats"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.bool), "torch.bool"),
        ("missing.png", "missing.png"),
        (["a.png"], "list is no path"),
    ],
)
def test_what_is_no_batch_is_refused(rater, images, words):
    with pytest.raises(InputError, match=words):
        Metric(rater)(images)


def test_a_gradient_is_refused_not_silently_cut(rater, pixels, expected):
    batch = (planes(pixels) / 255).requires_grad_()
    with pytest.raises(InputError, match=r"no gradient.*detach"):
        Metric(rater)(batch)
    with torch.no_grad():
        assert Metric(rater)(batch).tolist() == pytest.approx(expected, abs=1e-4)


def test_what_a_metric_tells_of_itself(rater, checkpoint):
    metric = Metric(rater)
    assert (metric.lower_better, metric.metric_mode, metric.score_range) == (False, "NR", "1, 5")
    assert Metric(Rater(checkpoint, OFFICIAL)).score_range == "0, 1"
