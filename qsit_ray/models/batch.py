"""torch: catalog rows to padded batches, and batches to bytes and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as load_bytes
from safetensors.numpy import save as save_bytes
from torch import Tensor

from qsit_ray.data.catalog import CatalogRow, open_catalog
from qsit_ray.data.encode import IGNORED, Encoded, Encoder, collate
from qsit_ray.mixture import PADDING
from qsit_ray.models.loss import tensors

EMPTY: CatalogRow = {
    "id": "padding",
    "domain": "general",
    "image": None,
    "conversation": [{"from": "human", "value": ""}, {"from": "gpt", "value": ""}],
    "mos": None,
    "level": None,
    "photograph": None,
}
"""The row in place of `PADDING`: its text is short, and its image a blank one."""


class Batches:
    """Turns catalog rows into batches; with `keep` a process encodes each row once."""

    def __init__(self, catalog: Path, processor: Any, max_length: int, keep: bool = False):
        self.catalog = open_catalog(catalog)
        self.encoder = Encoder(processor, catalog, max_length)
        self.pad_token: int = processor.tokenizer.pad_token_id
        self.keep = keep
        self._kept: dict[int, Encoded] = {}
        self._cut: set[int] = set()

    def of(self, rows: Sequence[int]) -> Encoded:
        """The padded batch of catalog row numbers; `PADDING` becomes a short row without labels."""
        return collate([self._sample(row) for row in rows], self.pad_token)

    def of_rows(self, rows: Sequence[CatalogRow]) -> Encoded:
        """The padded batch of rows that are not training rows of the catalog."""
        return collate([self.encoder.encode(row) for row in rows], self.pad_token)

    def cut(self, rows: Sequence[int]) -> int:
        """The number of `rows`, encoded before, whose answer was cut at the encoder's length."""
        return sum(row in self._cut for row in rows)

    def _sample(self, row: int) -> Encoded:
        if row == PADDING:
            blank = self.encoder.encode(EMPTY)
            blank["labels"] = np.full_like(blank["labels"], IGNORED)
            return blank
        if row in self._kept:
            return self._kept[row]
        before = self.encoder.cut
        sample = self.encoder.encode(self.catalog.take([row])[0])
        if self.encoder.cut > before:
            self._cut.add(row)
        if self.keep:
            self._kept[row] = sample
        return sample


def pack(batch: Encoded) -> bytes:
    return save_bytes({name: np.ascontiguousarray(array) for name, array in batch.items()})


def unpack(data: bytes) -> dict[str, Tensor]:
    return tensors(load_bytes(data))
