"""torch: level logits of images (Eq. 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qsit_ray.data.encode import IMAGE, Encoded, Encoder, Picture, Shown, collate
from qsit_ray.errors import InputError
from qsit_ray.models.budget import encoded
from qsit_ray.models.load import Checkpoint
from qsit_ray.models.loss import last_hidden, losses_from, tensors
from qsit_ray.prompts import PAPER, Profile, level_tokens

Item = TypeVar("Item")
Result = TypeVar("Result")
BATCH_TOKENS = 16_384
"""Tokens that go through the model at once, padding included."""


class Prompter(Encoder):
    """An Encoder that writes the user's turn in a profile's chat form."""

    def __init__(
        self,
        processor: Any,
        root: Path,
        profile: Profile = PAPER,
        cache: dict[str, Picture] | None = None,
    ) -> None:
        super().__init__(processor, root, max_length=1 << 20, cache=cache)
        if not self.reads_images:
            raise InputError("a model of text alone can't judge images")
        self.profile = profile

    def score_prompt(self, image: Shown) -> Encoded:
        """The question and the answer up to the level word. Shapes and errors as `encode`."""
        return self.prompt(image, self.profile.question, self.profile.stem)

    def score_length(self, image: Shown) -> int:
        """The tokens of `score_prompt`. Of the image only the size is read."""
        return self.prompt_length(image, self.profile.question, self.profile.stem)

    def around_image(self, question: str) -> tuple[list[int], list[int]]:
        """The tokens of a question before its image and behind it. Raises InputError unless the
        question has the image's token once."""
        ids = self._ask(question)
        if ids.count(self._image_id) != 1:
            raise InputError(f"a question has {IMAGE} once, for its image: {question!r}")
        at = ids.index(self._image_id)
        return ids[:at], ids[at + 1 :]

    def _ask(self, text: str) -> list[int]:
        chat = self.profile.chat
        return super()._ask(text) if chat is None else self._tokens(chat.format(question=text))


@torch.no_grad()
def level_logits(
    checkpoint: Checkpoint,
    images: Sequence[Shown],
    root: Path = Path(),
    *,
    profile: Profile = PAPER,
    batch_tokens: int = BATCH_TOKENS,
    cache: dict[str, Picture] | None = None,
    threads: int = 0,
) -> NDArray[np.float64]:
    """The logit of each level word for each image, float64 [n, levels], in the order of
    `profile.words`.

    `profile.score` of these is the score (Eq. 5), `profile.rank_key` the value to rank by, and
    `qsit_ray.levels.level_probabilities` the probabilities (Eq. 4). Paths are relative to `root`.
    At most `batch_tokens` tokens, padding included, go through the model at once; `threads` encode
    the next ones meanwhile. Raises InputError for an image that can't be read, and, before any
    image is read, for a tokenizer that can't tell the level words apart.
    """
    prompter = Prompter(checkpoint.processor, root, profile, cache)
    out = np.zeros((len(images), len(profile.words)))
    found = logits_or_errors(
        checkpoint, images, prompter, batch_tokens=batch_tokens, threads=threads
    )
    for image, logits in found:
        if isinstance(logits, InputError | OSError):
            raise logits
        out[image] = logits
    return out


@torch.no_grad()
def logits_or_errors(
    checkpoint: Checkpoint,
    images: Sequence[Shown],
    prompter: Prompter,
    *,
    batch_tokens: int = BATCH_TOKENS,
    threads: int = 0,
) -> Iterator[tuple[int, NDArray[np.float64] | InputError | OSError]]:
    """The index of each image with its level logits, float64 [levels], or with what is wrong with
    it, an OSError where that is the machine's fault; in the order in which they are known.

    Images of one batch have nearly one length, and the longest come first. Errors of the tokenizer
    as in `level_logits`.
    """
    model, processor = checkpoint.model, checkpoint.processor
    words = level_tokens(processor.tokenizer, prompter.profile)
    sound: list[int] = []
    lengths: list[int] = []
    for image, shown in enumerate(images):
        length = _tried(prompter.score_length, shown)
        if isinstance(length, InputError | OSError):
            yield image, length
        else:
            sound.append(image)
            lengths.append(length)
    prompt = partial(_tried, prompter.score_prompt)
    with evaluated(model):
        shown_of = [images[image] for image in sound]
        for part, rows in encoded(shown_of, lengths, prompt, batch_tokens, threads):
            read = []
            for at, row in zip(part, rows, strict=True):
                if isinstance(row, InputError | OSError):
                    yield sound[at], row
                else:
                    read.append((sound[at], row))
            if read:
                batch = collate([row for _, row in read], processor.tokenizer.pad_token_id)
                logits = logits_at_end(model, tensors(batch, model.device), words).numpy()
                yield from zip((image for image, _ in read), logits, strict=True)


def _tried(work: Callable[[Item], Result], item: Item) -> Result | InputError | OSError:
    try:
        return work(item)
    except (InputError, OSError) as error:
        return error


@contextmanager
def evaluated(model: torch.nn.Module) -> Iterator[None]:
    """The model in evaluation mode, and afterwards as it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@torch.no_grad()
def logits_at_end(model: Any, batch: Mapping[str, Tensor], words: Sequence[int]) -> Tensor:
    """The next-token logits of `words` after each row's last real token, float64 [B, len(words)]
    on the CPU.

    `batch` comes from `collate`, as tensors; its labels are ignored.
    """
    hidden = last_hidden(model, batch)
    at_end = _at(hidden, batch["attention_mask"].sum(dim=1) - 1)
    with _head_rows(model, words) as rows:
        model.lm_head(at_end)
    return _multiplied(at_end, rows)


@torch.no_grad()
def losses_and_levels(
    model: Any, batch: Mapping[str, Tensor], words: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """`row_losses`, and from the same forward the logits of `words` at each row's `level_at`,
    float64 [B, len(words)] on the CPU."""
    hidden = last_hidden(model, batch)
    with _head_rows(model, words) as rows:
        sums, counts = losses_from(model, hidden, batch["labels"])
    return sums, counts, _multiplied(_at(hidden, batch["level_at"]), rows)


@contextmanager
def _head_rows(model: Any, words: Sequence[int]) -> Iterator[list[Tensor]]:
    """Collects the head's rows of `words`, float64 on the CPU, from its next call.

    The head is called, and its weights are read while it runs: at ZeRO stage 3 they are gathered
    only then, and gathering them in any other way inside DeepSpeed's forward fails. First among the
    hooks, because DeepSpeed's own hook releases the weights.
    """
    rows: list[Tensor] = []

    def read(head: torch.nn.Module, *_: object) -> None:
        rows.append(head.weight[torch.tensor(words, device=head.weight.device)].cpu().double())

    hook = model.lm_head.register_forward_hook(read, prepend=True)
    try:
        yield rows
    finally:
        hook.remove()


def _at(hidden: Tensor, positions: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), positions]


def _multiplied(hidden: Tensor, rows: list[Tensor]) -> Tensor:
    """In float64: in bfloat16 a logit of 20 comes in steps of 1/8, and images tie. Moved first,
    because not every accelerator has float64."""
    return hidden.cpu().double() @ rows[0].T
