"""torch: the primary on the validation data, each rank on its share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from qsit_ray.ahead import ahead
from qsit_ray.data.catalog import CatalogRow, Question
from qsit_ray.data.encode import IGNORED, Encoded, Picture, collate
from qsit_ray.evaluation import correlation
from qsit_ray.models.batch import Batches
from qsit_ray.models.budget import batches
from qsit_ray.models.choice import (
    candidate_losses,
    is_right,
    probabilities,
    question_batch,
    question_length,
    question_prompt,
)
from qsit_ray.models.loss import row_losses, tensors
from qsit_ray.models.score import Prompter, logits_at_end, losses_and_levels
from qsit_ray.prompts import PAPER, Profile, level_tokens
from qsit_ray.train.ranks import gather
from qsit_ray.train.state import Measured

Item = TypeVar("Item")
Model = Callable[..., Any]


class Validation:
    """This rank's share of the validation rows, images and questions, in batches of at most
    `batch_tokens` tokens, padding included. `tasks`: the pools whose losses are measured.

    ZeRO stage 3 gathers weights in each forward, so every rank makes the same number of forwards: a
    rank without items of its own in a batch repeats the batch's first, which is not counted.

    A scoring row whose prompt is the one that scores are asked with gives its image's level logits
    in the forward of its loss; only the other images need a forward of their own.

    `threads` encode the next batch while one is computed.
    """

    def __init__(
        self,
        rows: Batches,
        tasks: Sequence[str],
        rank: int,
        world_size: int,
        batch_tokens: int,
        threads: int = 0,
        profile: Profile = PAPER,
    ):
        self.rows, self.catalog, self.tasks = rows, rows.catalog, tasks
        self.rank, self.world_size, self.batch_tokens = rank, world_size, batch_tokens
        self.threads, self.profile = threads, profile
        self.images = self.catalog.images("validation")
        self._planned: dict[str, list[list[list[int]]]] = {}
        self._kept: dict[str, list[tuple[Any, Encoded]]] = {}

    @torch.no_grad()
    def measure(self, model: Model, device: torch.device, most: int | None = None) -> Measured:
        """Losses and scores over the shares of all ranks. `model` is an engine around `Rows`.

        `most` limits the batches of each kind. The first is the largest, so one of each shows
        whether the memory is enough.
        """
        model.eval()  # type: ignore[attr-defined]
        self._model, self._device, self._most = model, device, most
        if not self.images:
            return Measured({task: self._loss(task) for task in self.tasks}, None, None)
        first, *others = self.tasks
        loss, keys = self._scoring()
        return Measured(
            losses={first: loss, **{task: self._loss(task) for task in others}},
            srcc=self._srcc({**keys, **self._other_keys()}),
            accuracy=self._accuracy(),
        )

    def _scoring(self) -> tuple[float, dict[str, float]]:
        """The loss of the scoring rows, and the rank keys of the images among them by path."""
        read = partial(losses_and_levels, words=self.levels)
        rows = self.catalog.validation("scoring")
        losses = []
        keys: dict[str, float] = {}
        encode, join = self.rows.encoder.encode, self._joined_with_levels
        for part, batch in self._parts("scoring", rows, self._row_length, encode, join):
            sums, counts, logits = self._forward(batch, read)
            losses.append((sums[: len(part)], counts[: len(part)]))
            found = self.profile.rank_key(logits.numpy()).tolist()
            images = [_only(row) for row in part]
            keys |= {i: key for i, key in zip(images, found, strict=False) if i in self._shared}
        return _mean(losses), keys

    def _loss(self, task: str) -> float:
        rows = self.catalog.validation(task)
        losses = []
        for part, batch in self._parts(task, rows, self._row_length, self.rows.encoder.encode):
            sums, counts = self._forward(batch, row_losses)
            losses.append((sums[: len(part)], counts[: len(part)]))
        return _mean(losses)

    def _other_keys(self) -> dict[str, float]:
        """The rank keys of the images that no scoring row's forward gives."""
        read = partial(logits_at_end, words=self.levels)
        images = [row["image"] for row in self.images]
        others = [image for image in dict.fromkeys(images) if image not in self._shared]
        keys: dict[str, float] = {}
        prompter = self.prompter
        parts = self._parts("images", others, prompter.score_length, prompter.score_prompt)
        for part, batch in parts:
            found = self.profile.rank_key(self._forward(batch, read).numpy()).tolist()
            keys |= dict(zip(part, found, strict=False))
        return keys

    def _srcc(self, keys: dict[str, float]) -> float | None:
        of_all = {image: key for share in gather(keys) for image, key in share.items()}
        found = [row for row in self.images if row["image"] in of_all]
        truth, sets = [row["mos"] for row in found], [row.get("dataset") for row in found]
        of_rows = [of_all[row["image"]] for row in found]
        value = correlation.mean_over_sets(correlation.srcc, truth, of_rows, sets)
        return value if math.isfinite(value) else None

    def _accuracy(self) -> float | None:
        questions = self.catalog.questions("validation")
        length = partial(question_length, self.prompter)
        right: list[bool] = []
        encode, join = partial(question_prompt, self.prompter), self._joined_with_candidates
        for part, batch in self._parts("questions", questions, length, encode, join):
            losses = self._forward(batch, candidate_losses)
            right += map(is_right, part, probabilities(part, losses))
        answers = [answer for share in gather(right) for answer in share]
        return float(np.mean(answers)) if answers else None

    def _forward(self, batch: Encoded, read: Callable[..., Any]) -> Any:
        return self._model(tensors(batch, self._device), read)

    def _parts(
        self,
        name: str,
        items: Sequence[Item],
        length: Callable[[Item], int],
        encode: Callable[[Item], Encoded],
        join: Callable[[list[Item], list[Encoded]], Encoded] | None = None,
    ) -> Iterator[tuple[list[Item], Encoded]]:
        """This rank's items in parts, with the batch of each; batches are kept for later epochs
        where rows are. A part may be empty; its batch then has another rank's item."""
        if name in self._kept:
            yield from self._kept[name]
            return
        if name not in self._planned:
            lengths = [length(item) for item in items]
            self._planned[name] = batches(lengths, self.batch_tokens, self.world_size)
        planned = list(islice(self._planned[name], self._most))
        parts = [[items[item] for item in shares[self.rank]] for shares in planned]
        read = [part or [items[shares[0][0]]] for part, shares in zip(parts, planned, strict=True)]
        encoded = ahead(read, encode, self.threads)
        found = []
        for part, asked, rows in zip(parts, read, encoded, strict=True):
            batch = join(asked, rows) if join else collate(rows, self.rows.pad_token)
            if self.rows.keep:
                found.append((part, batch))
            yield part, batch
        if self.rows.keep and self._most is None:
            self._kept[name] = found

    @cached_property
    def prompter(self) -> Prompter:
        pixels: dict[str, Picture] | None = {} if self.rows.keep else None
        return Prompter(self.rows.encoder.processor, self.catalog.folder, self.profile, pixels)

    @cached_property
    def levels(self) -> list[int]:
        """The numbers of the level words' tokens."""
        return level_tokens(self.rows.encoder.processor.tokenizer, self.profile)

    @cached_property
    def stem(self) -> list[int]:
        """The tokens before a level word."""
        tokenizer = self.rows.encoder.processor.tokenizer
        tokens: list[int] = tokenizer(self.profile.stem, add_special_tokens=False).input_ids
        return tokens

    @cached_property
    def _shared(self) -> set[str]:
        """The images whose level logits a scoring row's forward gives, by the row's text."""
        return {_only(row) for row in self.catalog.validation("scoring") if self._is_prompt_of(row)}

    def _is_prompt_of(self, row: CatalogRow) -> bool:
        asked, answered = row["conversation"][:2]
        answer = self.prompter.reply(answered["value"])
        return asked["value"] == self.profile.question and answer[: len(self.stem)] == self.stem

    def _row_length(self, row: CatalogRow) -> int:
        return self.rows.encoder.row_length(row)

    def _joined_with_levels(self, _: Sequence[CatalogRow], rows: list[Encoded]) -> Encoded:
        """The rows' batch, with the position before each level word in the rows that are shared."""
        batch = collate(rows, self.rows.pad_token)
        answers = (batch["labels"] != IGNORED).argmax(axis=1)
        before = answers + len(self.stem) - 1
        return {**batch, "level_at": np.minimum(before, batch["labels"].shape[1] - 1)}

    def _joined_with_candidates(
        self, questions: Sequence[Question], prompts: list[Encoded]
    ) -> Encoded:
        return question_batch(self.prompter, questions, prompts, self.rows.pad_token)


def _only(row: CatalogRow) -> str:
    """The image of a scoring row."""
    (image,) = row["images"]
    return image["path"]


def _mean(losses: list[tuple[Tensor, Tensor]]) -> float:
    """The mean over the answer tokens of all ranks' rows, from each row's sum and its tokens."""
    total = sum(sums.double().sum().item() for sums, _ in losses)
    totals = gather((total, sum(int(counts.sum()) for _, counts in losses)))
    return sum(t for t, _ in totals) / sum(n for _, n in totals)
