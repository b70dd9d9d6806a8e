"""The loss equals transformers' own, row by row, and a batch without answers still has a graph."""

import pytest
import torch

from qsit_ray.data.encode import Encoder, collate
from qsit_ray.models.loss import answer_loss, evaluate_loss, row_losses, tensors


@pytest.fixture
def rows(checkpoint, images):
    encoder = Encoder(checkpoint.processor, images, 512)
    return [
        encoder.answer("a.png", "<image>\nWhat?", "noise in the left half"),
        encoder.answer("b.png", "Which?\n<image>", "no"),
    ]


def batch_of(rows):
    return tensors(collate(rows, 0))


def test_the_loss_is_transformers_own(checkpoint, rows):
    batch = batch_of(rows)
    loss, tokens = answer_loss(checkpoint.model, batch)
    assert tokens == int((batch["labels"][:, 1:] != -100).sum())
    assert float(loss / tokens) == pytest.approx(float(checkpoint.model(**batch).loss), rel=1e-5)


def test_a_rows_loss_does_not_depend_on_its_batch(checkpoint, rows):
    sums, tokens = row_losses(checkpoint.model, batch_of(rows))
    for i, row in enumerate(rows):
        alone, count = answer_loss(checkpoint.model, batch_of([row]))
        assert float(alone) == pytest.approx(float(sums[i]), rel=1e-4)
        assert count == tokens[i]


def test_a_batch_without_answers_has_a_backward_pass(checkpoint, rows):
    batch = batch_of(rows)
    batch["labels"][:] = -100
    loss, tokens = answer_loss(checkpoint.model, batch)
    assert (float(loss), tokens) == (0.0, 0)
    loss.backward()
    checkpoint.model.zero_grad()


def test_evaluate_loss_is_a_mean_over_tokens(checkpoint, rows):
    loss, tokens = answer_loss(checkpoint.model, batch_of(rows))
    parts = evaluate_loss(checkpoint.model, [batch_of([row]) for row in rows])
    assert parts == pytest.approx(float(loss) / tokens, rel=1e-4)
    with pytest.raises(ValueError, match="no answer tokens"):
        evaluate_loss(checkpoint.model, [])
    assert not torch.is_inference_mode_enabled()
