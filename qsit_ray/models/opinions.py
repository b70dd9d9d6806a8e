"""torch: the loss at the level word of scoring rows: soft levels, and ranking within a data set.

A batch then has, for each row: `level_from`, the place whose next token is its level word, or -1;
`level_shares`, its opinions' distribution over the levels; `data_set`, a number for it; and once
`level_ids`, the tokens of the level words from bad to excellent.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qsit_ray.config.config import Levels
from qsit_ray.data.catalog import CatalogRow
from qsit_ray.data.encode import IGNORED
from qsit_ray.errors import InputError
from qsit_ray.levels import LEVEL_WEIGHTS
from qsit_ray.prompts import PAPER, Profile, level_tokens

KEYS = ("level_from", "level_shares", "level_ids", "data_set")
LEAST = 1e-6
"""Keeps the square roots of the fidelity loss away from 0, where their slope is infinite."""


class Opinions:
    """Finds the level words of a tokenizer's batches."""

    def __init__(self, tokenizer: Any, profile: Profile = PAPER) -> None:
        self.ids = np.array(level_tokens(tokenizer, profile), np.int64)

    def of(self, rows: Sequence[CatalogRow], labels: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The opinions of a batch's rows, whose labels are [B, L].

        Raises InputError naming a row whose opinions are not known, or whose answer does not have
        its level word once.
        """
        places = np.full(len(rows), -1, np.int64)
        shares = np.zeros((len(rows), len(self.ids)), np.float32)
        sets = np.zeros(len(rows), np.int64)
        for number, row in enumerate(rows):
            if row["level"] is None or not (labels[number] != IGNORED).any():
                continue
            found = np.flatnonzero(np.isin(labels[number], self.ids))
            known = row.get("level_shares")
            if known is not None and not len(found):
                continue  # the answer was cut before its level word
            if known is None or len(found) != 1:
                what = "no level_shares" if known is None else f"{len(found)} level words"
                raise InputError(f"row {row['id']}: {what} in a scoring row with soft levels")
            places[number] = found[0] - 1
            shares[number] = known
            sets[number] = zlib.crc32(row["dataset"].encode())
        found_of = (places, shares, self.ids, sets)
        return dict(zip(KEYS, found_of, strict=True))


def soft_losses(logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """The cross-entropy of level logits, [R, vocabulary], of a batch's R scoring rows against their
    shares, [R]: that of the level word where one share is 1."""
    shares = batch["level_shares"][batch["level_from"] >= 0]
    chosen = logits.log_softmax(dim=-1)[:, batch["level_ids"]]
    return -(shares * chosen).sum(dim=-1)


def ranking_losses(logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """The fidelity loss of each scoring row, [R]: the mean over its pairs with rows of its data
    set, and 0 without any.

    A pair's probability that the first is better is that of a Gaussian difference (Thurstone), of
    the distributions over the levels that model and opinions give (Tsai et al. 2007).
    """
    scoring = batch["level_from"] >= 0
    shares, sets = batch["level_shares"][scoring], batch["data_set"][scoring]
    said = _better(logits[:, batch["level_ids"]].softmax(dim=-1))
    wanted = _better(shares.to(said.dtype))
    agree = (said * wanted).clamp(min=LEAST).sqrt()
    agree = agree + ((1 - said) * (1 - wanted)).clamp(min=LEAST).sqrt()
    pairs = (sets[:, None] == sets[None, :]).to(said.dtype)
    pairs = pairs - torch.eye(len(sets), dtype=said.dtype, device=said.device)
    return ((1 - agree) * pairs).sum(dim=1) / pairs.sum(dim=1).clamp(min=1)


def _better(shares: Tensor) -> Tensor:
    """The probability that the opinion of a row is above that of another, [R, R]."""
    numbers = torch.tensor(LEVEL_WEIGHTS, dtype=shares.dtype, device=shares.device)
    mean = shares @ numbers
    variance = (shares * (numbers - mean[:, None]) ** 2).sum(dim=1)
    spread = (variance[:, None] + variance[None, :] + LEAST).sqrt()
    return torch.special.ndtr((mean[:, None] - mean[None, :]) / spread)


def with_opinions(
    nll: Tensor,
    logits: Tensor,
    row: Tensor,
    at: Tensor,
    batch: Mapping[str, Tensor],
    levels: Levels,
) -> Tensor:
    """`nll`, [T], of the labelled tokens with the loss at the level words in its place.

    `logits`: [T, vocabulary]. `row` and `at`: [T], the row and the place before each token.
    """
    chosen = (batch["level_from"][row] == at).nonzero()[:, 0]
    if not len(chosen):
        return nll
    at_level = logits[chosen]
    values = soft_losses(at_level, batch) if levels.target == "soft" else nll[chosen]
    if levels.ranking_weight:
        values = values + levels.ranking_weight * ranking_losses(at_level, batch)
    return nll.index_put((chosen,), values.to(nll.dtype))
