"""torch: the loss on answer tokens, with logits only where there is a label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from qsit_ray.config.config import Levels, LossWeighting
from qsit_ray.data.encode import IGNORED, NO_TOKEN
from qsit_ray.errors import InputError
from qsit_ray.models.opinions import KEYS, with_opinions

HARD = Levels()
NOT_READ = {"attention_mask", "labels", "level_at", "candidates", "asked", *KEYS}
"""The arrays of a batch that the decoder does not read with its rows."""


def tensors(
    batch: Mapping[str, np.ndarray], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """A collated batch as tensors."""
    return {key: torch.from_numpy(np.ascontiguousarray(v)).to(device) for key, v in batch.items()}


def row_losses(
    model: Any, batch: Mapping[str, Tensor], levels: Levels = HARD
) -> tuple[Tensor, Tensor]:
    """The summed negative log-likelihood of each row's labelled tokens in nats, float [B], and
    their number, int [B]. At the level words of scoring rows `levels` say what it is instead.

    `model` is a LlavaOnevisionForConditionalGeneration or a language model of transformers; `batch`
    comes from `collate`, as tensors.
    """
    hidden = last_hidden(model, batch)
    if not levels.need_shares:
        return losses_from(model, hidden, batch["labels"])
    nll, logits, row, at, counts = _token_losses(model, hidden, batch["labels"])
    return _of_rows(with_opinions(nll, logits, row, at, batch, levels), row, counts), counts


def last_hidden(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """The decoder's last hidden state, [B, L, hidden], of a collated batch; noise at padding.

    With flash-attn padding is not computed at all.
    """
    if model.config.get_text_config()._attn_implementation == "flash_attention_2":
        return unpadded_hidden(model, batch)
    return model.model(**decoder_inputs(batch), use_cache=False).last_hidden_state


def unpadded_hidden(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """`last_hidden` with zeros at padding: the decoder reads the rows as one sequence without it.

    Where positions begin again at 0 a row begins, and transformers keeps attention within it:
    flash-attn by the lengths, other kernels by a mask, which costs more than padding does.
    """
    ids = batch["input_ids"]
    # The blank image after a row of text is hidden from it, but its features need their places.
    blank = getattr(model.config, "image_token_id", NO_TOKEN)
    read = batch["attention_mask"].bool() | (ids == blank)
    places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    joined = {"input_ids": ids[read][None], "position_ids": places[read][None]}
    found = model.model(**{**decoder_inputs(batch), **joined}, use_cache=False).last_hidden_state
    hidden = found.new_zeros(*ids.shape, found.shape[-1])
    hidden[read] = found[0]
    return hidden


def decoder_inputs(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the decoder reads of a collated batch.

    Not its attention mask: rows are padded on the right, so causal attention alone keeps padding
    from every real token; and without a mask torch has a kernel for it that is faster and keeps no
    matrix of L x L.
    """
    return {name: value for name, value in batch.items() if name not in NOT_READ}


def losses_from(model: Any, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """`row_losses` from the last hidden state of the batch.

    The head runs on the labelled positions alone: a vocabulary of 152,000 at every image token
    would cost more than the decoder.
    """
    nll, _, row, _, counts = _token_losses(model, hidden, labels)
    return _of_rows(nll, row, counts), counts


def _token_losses(
    model: Any, hidden: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The loss and logits of each labelled token, its row and the place before it, and the labelled
    tokens of each row."""
    hidden, labels = hidden[:, :-1], labels[:, 1:]
    labelled = labels != IGNORED
    logits = model.lm_head(hidden[labelled]).float()
    nll = cross_entropy(logits, labels[labelled], reduction="none")
    row, at = labelled.nonzero().unbind(dim=1)
    return nll, logits, row, at, labelled.sum(dim=1)


def _of_rows(nll: Tensor, row: Tensor, counts: Tensor) -> Tensor:
    return torch.zeros(len(counts), dtype=nll.dtype, device=nll.device).index_add(0, row, nll)


def objective(sums: Tensor, tokens: Tensor, weighting: LossWeighting) -> Tensor:
    """What a micro-batch of these `row_losses` adds to a global batch's objective, with its graph,
    before the division by the global batch's `units`.

    token_mean: each answer token counts once, so long answers count most. row_mean: each row counts
    once, by the mean over its tokens. micro_batch_mean: each micro-batch counts once, by the mean
    over its tokens, as in trainers that average over steps of accumulation.
    """
    if weighting == "row_mean":
        return (sums / tokens.clamp(min=1)).sum()
    if weighting == "micro_batch_mean":
        return sums.sum() / tokens.sum().clamp(min=1)
    return sums.sum()


def units(labels: Tensor, weighting: LossWeighting) -> int:
    """The tokens, rows or micro-batches, as `weighting` counts, of a micro-batch's labels."""
    tokens = (labels[:, 1:] != IGNORED).sum(dim=1)
    if weighting == "row_mean":
        return int((tokens > 0).sum())
    return int(tokens.sum() > 0) if weighting == "micro_batch_mean" else int(tokens.sum())


def answer_loss(model: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, int]:
    """The summed negative log-likelihood of the answer tokens (with its graph), and their number.

    A batch without any answer token gives a zero that still has a graph, so that every rank can run
    a backward pass.
    """
    sums, tokens = row_losses(model, batch)
    return sums.sum(), int(tokens.sum())


@torch.no_grad()
def evaluate_loss(model: Any, batches: Iterable[Mapping[str, Tensor]]) -> float:
    """The mean negative log-likelihood of an answer token over all batches, in nats.

    Raises InputError when there is no answer token.
    """
    was_training = model.training
    model.eval()
    total, tokens = 0.0, 0
    for batch in batches:
        loss, count = answer_loss(model, batch)
        total += float(loss)
        tokens += count
    model.train(was_training)
    if tokens == 0:
        raise InputError("validation loss over no answer tokens; expected at least one row")
    return total / tokens
