"""torch: the primary on the validation data, each rank on its share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from evaluation import correlation
from qsit_ray.data.catalog import BenchmarkImage, Question
from qsit_ray.data.encode import Encoded, Picture, collate
from qsit_ray.models.batch import Batches
from qsit_ray.models.loss import tensors
from qsit_ray.models.score import Prompter, candidate_rows
from qsit_ray.prompts import PAPER, level_tokens
from qsit_ray.train.ranks import gather
from qsit_ray.train.state import Measured

Item = TypeVar("Item")
Model = Callable[..., Any]


class Validation:
    """This rank's share of the validation rows, images and questions.

    ZeRO stage 3 gathers weights in each forward, so every rank makes the same number of forwards: a
    rank whose share ends early repeats other rows, which are not counted.
    """

    def __init__(self, rows: Batches, rank: int, world_size: int, batch_size: int):
        self.rows, self.catalog = rows, rows.catalog
        self.rank, self.world_size, self.batch_size = rank, world_size, batch_size
        processor = rows.encoder.processor
        pixels: dict[str, Picture] | None = {} if rows.keep else None
        self.prompter = Prompter(processor, self.catalog.folder, PAPER, pixels)
        self.levels = level_tokens(processor.tokenizer, PAPER)
        self._encoded: dict[tuple[str, int], Encoded] = {}

    @torch.no_grad()
    def measure(self, model: Model, device: torch.device) -> Measured:
        """Losses and scores over the shares of all ranks. `model` is an engine around `Rows`."""
        model.eval()  # type: ignore[attr-defined]
        return Measured(
            loss_scoring=self._loss("scoring", model, device),
            loss_interpreting=self._loss("interpreting", model, device),
            srcc=self._srcc(model, device),
            accuracy=self._accuracy(model, device),
        )

    def _loss(self, task: str, model: Model, device: torch.device) -> float:
        total, tokens = 0.0, 0
        rows = self.catalog.validation(task)
        for part, batch in self._parts(task, rows, self.batch_size, self.rows.of_rows):
            sums, counts = model(tensors(batch, device))
            total += sums[: len(part)].double().sum().item()
            tokens += int(counts[: len(part)].sum())
        totals = gather((total, tokens))
        return sum(t for t, _ in totals) / sum(n for _, n in totals)

    def _srcc(self, model: Model, device: torch.device) -> float | None:
        images = list(enumerate(self.catalog.images("validation")))
        found: list[tuple[int, float, float]] = []
        for part, batch in self._parts("srcc", images, self.batch_size, self._prompts):
            logits = model(tensors(batch, device), self.levels).numpy()
            keys = PAPER.rank_key(logits).tolist()
            found += [(at, row["mos"], key) for (at, row), key in zip(part, keys, strict=False)]
        table = np.array(sorted(each for share in gather(found) for each in share))
        value = correlation.srcc(table[:, 1], table[:, 2]) if len(table) else math.nan
        return value if math.isfinite(value) else None

    def _accuracy(self, model: Model, device: torch.device) -> float | None:
        questions = self.catalog.questions("validation")
        widest = max((len(question["candidates"]) for question in questions), default=1)
        right: list[bool] = []
        size = max(1, self.batch_size // widest)
        for part, batch in self._parts("accuracy", questions, size, self._candidates):
            sums, _ = model(tensors(batch, device))
            likelihood = iter((-sums.double()).tolist())
            for question in part:
                own = [next(likelihood) for _ in question["candidates"]]
                chosen = question["candidates"][int(np.argmax(own))]
                right.append(chosen == question["correct_ans"])
        answers = [answer for share in gather(right) for answer in share]
        return float(np.mean(answers)) if answers else None

    def _parts(
        self, name: str, items: Sequence[Item], size: int, encode: Callable[[list[Item]], Encoded]
    ) -> Iterator[tuple[list[Item], Encoded]]:
        """This rank's items, every `world_size`-th, in parts of at most `size`, with the batch of
        each part; batches are kept for later epochs where rows are.

        The number of parts is the same on every rank. The last may be empty; its batch then has the
        first item of all.
        """
        own = items[self.rank :: self.world_size]
        for number in range(math.ceil(math.ceil(len(items) / self.world_size) / size)):
            part = list(own[number * size : (number + 1) * size])
            batch = self._encoded.get((name, number)) or encode(part or list(items[:1]))
            if self.rows.keep:
                self._encoded[name, number] = batch
            yield part, batch

    def _prompts(self, images: Sequence[tuple[int, BenchmarkImage]]) -> Encoded:
        rows = [self.prompter.score_prompt(row["image"]) for _, row in images]
        return collate(rows, self.rows.pad_token)

    def _candidates(self, questions: Sequence[Question]) -> Encoded:
        rows = [row for q in questions for row in candidate_rows(self.prompter, q)]
        return collate(rows, self.rows.pad_token)
