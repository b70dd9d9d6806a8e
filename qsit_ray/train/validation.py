"""torch: what validation data says of the primary, each rank looking at its share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from evaluation import iqa
from qsit_ray.data.encode import Encoded, Picture, collate
from qsit_ray.mixture import PADDING
from qsit_ray.models.batch import Batches
from qsit_ray.models.loss import tensors
from qsit_ray.models.score import Prompter
from qsit_ray.prompts import PAPER, level_tokens, multiple_choice_prompt
from qsit_ray.train.ranks import gather

TASKS = ("scoring", "interpreting")
Item = TypeVar("Item")
Model = Callable[..., Any]


class Validation:
    """This rank's share of the validation rows, images and questions.

    ZeRO stage 3 gathers weights in each forward, so ranks make equally many of them: where a share
    ends early its rank looks at something again, and nobody counts it.
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
    def measure(self, model: Model, device: torch.device) -> dict[str, float | None]:
        """loss_scoring, loss_interpreting: mean negative log-likelihood in nats over all ranks'
        answer tokens; srcc of Eq. 5's scores; accuracy of closed-set multiple choice.

        `model` is an engine around `Rows`. A score without data, or undefined, is None.
        """
        model.eval()  # type: ignore[attr-defined]
        losses = {f"loss_{task}": self._loss(task, model, device) for task in TASKS}
        return {**losses, "srcc": self._srcc(model, device), "accuracy": self._right(model, device)}

    def _loss(self, task: str, model: Model, device: torch.device) -> float:
        total, tokens = 0.0, 0
        for number, cut in self._share(self.catalog.validation(task), self.batch_size):
            batch = self._kept(task, number, self._rows, cut)
            sums, counts = model(tensors(batch, device))
            total += sums.double().sum().item()
            tokens += int(counts.sum())
        totals = gather((total, tokens))
        return sum(t for t, _ in totals) / sum(n for _, n in totals)

    def _srcc(self, model: Model, device: torch.device) -> float | None:
        images = list(enumerate(self.catalog.images("validation")))
        found: list[tuple[int, float, float]] = []
        for number, cut in self._share(images, self.batch_size):
            batch = self._kept("srcc", number, self._prompts, cut or images[:1])
            logits = model(tensors(batch, device), self.levels).numpy()
            keys = PAPER.rank_key(logits).tolist()
            found += [(at, row["mos"], key) for (at, row), key in zip(cut, keys, strict=False)]
        table = np.array(sorted(each for share in gather(found) for each in share))
        value = iqa.srcc(table[:, 1], table[:, 2]) if len(table) else math.nan
        return value if math.isfinite(value) else None

    def _right(self, model: Model, device: torch.device) -> float | None:
        questions = self.catalog.questions("validation")
        widest = max((len(question["candidates"]) for question in questions), default=1)
        right = []
        for number, cut in self._share(questions, max(1, self.batch_size // widest)):
            batch = self._kept("accuracy", number, self._candidates, cut or questions[:1])
            sums, _ = model(tensors(batch, device))
            likelihood = iter((-sums.double()).tolist())
            for question in cut:
                own = [next(likelihood) for _ in question["candidates"]]
                chosen = question["candidates"][int(np.argmax(own))]
                right.append(chosen == question["correct_ans"])
        answers = [answer for share in gather(right) for answer in share]
        return float(np.mean(answers)) if answers else None

    def _share(self, items: Sequence[Item], size: int) -> Iterator[tuple[int, list[Item]]]:
        """Every `world_size`-th item, `size` at a time; as many times on every rank."""
        own = items[self.rank :: self.world_size]
        for number in range(math.ceil(math.ceil(len(items) / self.world_size) / size)):
            yield number, list(own[number * size : (number + 1) * size])

    def _rows(self, rows: list[dict[str, Any]]) -> Encoded:
        return self.rows.of_rows(rows) if rows else self.rows.of([PADDING])

    def _prompts(self, images: Sequence[tuple[int, dict[str, Any]]]) -> Encoded:
        return self._collated([self.prompter.score_prompt(row["image"]) for _, row in images])

    def _candidates(self, questions: Sequence[dict[str, Any]]) -> Encoded:
        return self._collated(
            [
                self.prompter.answer(question["img_path"], text, candidate)
                for question in questions
                for text in [multiple_choice_prompt(question["question"], question["candidates"])]
                for candidate in question["candidates"]
            ]
        )

    def _collated(self, rows: list[Encoded]) -> Encoded:
        return collate(rows, self.rows.pad_token)

    def _kept(
        self, what: str, number: int, encode: Callable[[list[Any]], Encoded], items: list[Any]
    ) -> Encoded:
        """An encoded batch; remembered where rows are."""
        if not self.rows.keep:
            return encode(items)
        if (what, number) not in self._encoded:
            self._encoded[what, number] = encode(items)
        return self._encoded[what, number]
