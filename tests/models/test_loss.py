"""The loss equals transformers' own, row by row, and a batch without answers still has a graph."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from transformers.utils import is_flash_attn_2_available

from qsit_ray.data.encode import IGNORED, Encoder, collate
from qsit_ray.models import load
from qsit_ray.models.loss import (
    answer_loss,
    evaluate_loss,
    last_hidden,
    losses_from,
    objective,
    row_losses,
    tensors,
    units,
    unpadded_hidden,
)


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


def test_padding_changes_no_loss_and_no_gradient(checkpoint, rows):
    """Not even padding of other tokens, and none of transformers' own numbers with its mask."""
    model = copy.deepcopy(checkpoint.model)

    def gradients(loss):
        model.zero_grad()
        loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    batch = batch_of([rows[1], {**rows[0], **longer(rows[0], 40)}])
    padded = batch["attention_mask"] == 0
    assert padded.any()
    masked = model(**{k: v for k, v in batch.items() if k != "labels"}).logits[:, :-1]
    labels = batch["labels"][:, 1:]
    theirs = cross_entropy(masked.transpose(1, 2), labels, reduction="none").sum(dim=1)
    wanted = gradients(theirs.sum())
    for filling in (0, 55):
        batch["input_ids"][padded] = filling
        sums, _ = row_losses(model, batch)
        torch.testing.assert_close(sums, theirs, rtol=1e-5, atol=1e-5)
        for name, gradient in gradients(sums.sum()).items():
            torch.testing.assert_close(gradient, wanted[name], rtol=1e-3, atol=1e-4)


@pytest.fixture
def of_each_kind(checkpoint, rows, images):
    """With one image, without one and with two."""
    encoder = Encoder(checkpoint.processor, images, 512)

    def row(text, shown):
        turns = [{"from": "human", "value": text}, {"from": "gpt", "value": "no, it is noise"}]
        return encoder.encode({"images": [{"path": n} for n in shown], "conversation": turns})

    return [*rows, row("Name one.", []), row("<image><image>Alike?", ["a.png", "b.png"])]


def test_rows_joined_without_padding_have_the_same_losses_and_gradients(checkpoint, of_each_kind):
    batch = batch_of(of_each_kind)
    model = copy.deepcopy(checkpoint.model)
    found = {}
    for hidden in (last_hidden, unpadded_hidden):
        model.zero_grad()
        sums, _ = losses_from(model, hidden(model, batch), batch["labels"])
        sums.sum().backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        found[hidden] = sums.detach(), gradients
    torch.testing.assert_close(*(sums for sums, _ in found.values()), rtol=1e-5, atol=1e-5)
    for padded, joined in zip(*(gradients for _, gradients in found.values()), strict=True):
        torch.testing.assert_close(padded, joined, rtol=1e-3, atol=1e-4)


counts = st.lists(st.integers(0, 9), min_size=1, max_size=8)


def labels_of(tokens):
    """Rows of ten tokens, so many of them labelled."""
    return torch.tensor([[IGNORED] * (10 - n) + [7] * n for n in tokens])


@given(counts, st.data(), st.sampled_from(["token_mean", "row_mean"]))
def test_a_global_batchs_objective_does_not_depend_on_its_division(tokens, data, weighting):
    losses = torch.tensor([data.draw(st.floats(0, 9)) * n for n in tokens], dtype=torch.float64)
    cut = data.draw(st.integers(0, len(tokens)))
    parts = [part for part in (slice(0, cut), slice(cut, None)) if tokens[part]]
    answers = torch.tensor(tokens)
    found = sum(objective(losses[part], answers[part], weighting) for part in parts)
    assert float(found) == pytest.approx(float(objective(losses, answers, weighting)))
    counted = [units(labels_of(tokens)[part], weighting) for part in parts]
    assert sum(counted) == (sum(tokens) if weighting == "token_mean" else sum(map(bool, tokens)))


@pytest.mark.parametrize(
    ("weighting", "weights", "whole"),
    [
        ("token_mean", [1, 1, 1], 12),
        ("row_mean", [1 / 2, 1 / 10, 0], 2),
        ("micro_batch_mean", [1 / 12, 1 / 12, 1 / 12], 1),
    ],
)
def test_what_counts_alike(weighting, weights, whole):
    """An answer of two tokens, one of ten and a row of padding."""
    sums = torch.tensor([2.0, 10.0, 0.0], requires_grad=True)
    tokens = torch.tensor([2, 10, 0])
    objective(sums, tokens, weighting).backward()
    assert sums.grad.tolist()[:2] == pytest.approx(weights[:2])
    labels = torch.tensor([[IGNORED] * (11 - n) + [7] * n for n in (2, 10, 0)])
    assert units(labels, weighting) == whole
    assert units(torch.full((2, 4), IGNORED), weighting) == 0


@pytest.mark.skipif(
    not (torch.cuda.is_available() and is_flash_attn_2_available()), reason="no flash-attn"
)
def test_flash_attention_gives_the_same_losses(checkpoint, of_each_kind, tmp_path):
    load.save(checkpoint.model, checkpoint.processor, tmp_path)
    batch = {name: tensor.cuda() for name, tensor in batch_of(of_each_kind).items()}
    with torch.no_grad():
        flash, plain = (
            row_losses(load.load(tmp_path, torch.bfloat16, kind).model.cuda(), batch)[0]
            for kind in ("flash_attention_2", "sdpa")
        )
    torch.testing.assert_close(flash, plain, rtol=0.03, atol=0.03)


def longer(row, more):
    """The row with `more` tokens at its end, in the loss."""
    return {
        "input_ids": np.append(row["input_ids"], np.full(more, 60)),
        "attention_mask": np.append(row["attention_mask"], np.ones(more, int)),
        "labels": np.append(row["labels"], np.full(more, 60)),
    }


def test_the_decoders_attention_is_causal_without_a_mask(checkpoint, rows, monkeypatch):
    """torch's fast kernels need that; with a mask a row of 7,000 tokens takes 7,000^2 numbers."""
    seen = []
    theirs = torch.nn.functional.scaled_dot_product_attention

    def spy(*inputs, attn_mask=None, is_causal=False, **others):
        seen.append((attn_mask is None, is_causal))
        return theirs(*inputs, attn_mask=attn_mask, is_causal=is_causal, **others)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    batch = batch_of([rows[0], {**rows[1], **longer(rows[1], 40)}])
    row_losses(checkpoint.model, batch)
    layers = checkpoint.model.config
    assert seen.count((True, True)) == layers.text_config.num_hidden_layers
    assert len(seen) == seen.count((True, True)) + layers.vision_config.num_hidden_layers
    assert all(without_mask for without_mask, _ in seen)


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
