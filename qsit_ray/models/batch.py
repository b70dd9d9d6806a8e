"""torch: catalog rows to padded batches, and batches to bytes and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load as load_bytes
from safetensors.numpy import save as save_bytes
from torch import Tensor

from qsit_ray.data.catalog import CatalogRow, open_catalog
from qsit_ray.data.encode import IGNORED, PICTURES, Encoded, Encoder, collate
from qsit_ray.mixture import PADDING
from qsit_ray.models.loss import tensors
from qsit_ray.models.opinions import KEYS, Opinions
from qsit_ray.prompts import Profile

EMPTY: CatalogRow = {
    "id": "padding",
    "domain": "general",
    "images": [],
    "conversation": [{"from": "human", "value": ""}, {"from": "gpt", "value": ""}],
    "mos": None,
    "level": None,
    "photograph": None,
    "dataset": "",
}
"""The row in place of `PADDING`: its text is short, and its image a blank one."""


class Batches:
    """Turns catalog rows into batches; with `keep` a process encodes each row once."""

    def __init__(
        self,
        catalog: Path,
        processor: Any,
        max_length: int,
        keep: bool = False,
        opinions: Profile | None = None,
    ):
        self.catalog = open_catalog(catalog)
        self.encoder = Encoder(processor, catalog, max_length)
        self.pad_token: int = processor.tokenizer.pad_token_id
        self.keep = keep
        self.opinions = None if opinions is None else Opinions(processor.tokenizer, opinions)
        self._kept: dict[int, Encoded] = {}
        self._cut: set[int] = set()

    def of(self, rows: Sequence[int]) -> Encoded:
        """The padded batch of catalog row numbers; `PADDING` becomes a short row without labels.
        With `opinions` it has those of its scoring rows (`qsit_ray.models.opinions`)."""
        batch = collate([self._sample(row) for row in rows], self.pad_token)
        if self.opinions is not None:
            known = [EMPTY if row == PADDING else self.catalog.take([row])[0] for row in rows]
            batch |= self.opinions.of(known, batch["labels"])
        return batch

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
    """A batch as bytes for Ray's object store: 5 for a token, and the tiles' own.

    A label is its token's number or IGNORED, so a mark says which: a token's marks are 1 where it
    is attended to, and 2 more where it has a label.
    """
    marks = batch["attention_mask"] + 2 * (batch["labels"] != IGNORED)
    return save_bytes(
        {
            **{key: np.ascontiguousarray(batch[key]) for key in PICTURES if key in batch},
            "input_ids": batch["input_ids"].astype(np.int32),
            "marks": marks.astype(np.uint8),
            **{key: batch[key] for key in KEYS if key in batch},
        }
    )


def unpack(data: bytes) -> dict[str, Tensor]:
    """The batch that `pack` was given, as tensors."""
    packed = load_bytes(data)
    ids, marks = packed["input_ids"].astype(np.int64), packed["marks"]
    return tensors(
        {
            "input_ids": ids,
            "attention_mask": (marks & 1).astype(np.int64),
            "labels": np.where(marks & 2, ids, IGNORED),
            **{key: packed[key] for key in (*PICTURES, *KEYS) if key in packed},
        }
    )


def on_device(
    batches: Iterable[dict[str, Tensor]], device: torch.device | str
) -> Iterator[dict[str, Tensor]]:
    """The batches on `device`. To a GPU the next one is copied, from pinned memory and on a stream
    of its own, while its predecessor is computed with."""
    device = torch.device(device)
    if device.type != "cuda":
        for batch in batches:
            yield {name: tensor.to(device) for name, tensor in batch.items()}
        return
    ahead = None
    for batch in batches:
        following = _copy(batch, device)
        if ahead is not None:
            yield _received(*ahead)
        ahead = following
    if ahead is not None:
        yield _received(*ahead)


@lru_cache
def _copies(device: torch.device) -> torch.cuda.Stream:
    # One for all calls: each stream has a pool of memory of its own.
    return torch.cuda.Stream(device)


def _copy(
    batch: dict[str, Tensor], device: torch.device
) -> tuple[dict[str, Tensor], torch.cuda.Event]:
    """The batch on the device, and the event of its arrival."""
    stream = _copies(device)
    with torch.cuda.stream(stream):
        copied = {
            name: tensor.pin_memory().to(device, non_blocking=True)
            for name, tensor in batch.items()
        }
    return copied, stream.record_event()


def _received(batch: dict[str, Tensor], arrived: torch.cuda.Event) -> dict[str, Tensor]:
    current = torch.cuda.current_stream(batch["input_ids"].device)
    current.wait_event(arrived)
    for tensor in batch.values():
        tensor.record_stream(current)  # its memory is not the copies' again before this stream ends
    return batch
