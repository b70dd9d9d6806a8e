"""torch: quality scores by level probabilities (Eq. 4-5) and closed-set multiple choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from qsit_ray.data.encode import Encoded, Encoder, Picture, collate
from qsit_ray.levels import level_probabilities as closed_softmax
from qsit_ray.models.load import Checkpoint
from qsit_ray.models.loss import row_losses, tensors
from qsit_ray.prompts import PAPER, Profile, level_tokens, multiple_choice_prompt


class Prompter(Encoder):
    """An Encoder whose user turns stand in a profile's chat form."""

    def __init__(
        self,
        processor: Any,
        root: Path,
        profile: Profile = PAPER,
        cache: dict[str, Picture] | None = None,
    ) -> None:
        super().__init__(processor, root, max_length=1 << 20, cache=cache)
        self.profile = profile

    def score_prompt(self, image: str | Path | Image.Image) -> Encoded:
        """The question and the answer up to the level word. Shapes and errors as `encode`."""
        return self.prompt(image, self.profile.question, self.profile.stem)

    def _ask(self, text: str) -> list[int]:
        chat = self.profile.chat
        return super()._ask(text) if chat is None else self._tokens(chat.format(question=text))


@torch.no_grad()
def level_logits(
    checkpoint: Checkpoint,
    images: Sequence[str | Path | Image.Image],
    root: Path = Path(),
    *,
    profile: Profile = PAPER,
    batch_size: int = 64,
    cache: dict[str, Picture] | None = None,
) -> NDArray[np.float64]:
    """Return the logit of each level word for each image, float64 [n, levels], in the order of
    `profile.words`.

    Rank images on `profile.rank_key` of these. Paths are relative to `root`. Raises InputError for
    an image that can't be read, and for a tokenizer that can't tell the level words apart, before
    any image is read.
    """
    model, processor = checkpoint.model, checkpoint.processor
    words = level_tokens(processor.tokenizer, profile)
    prompter = Prompter(processor, root, profile, cache)
    was_training = model.training
    model.eval()
    out = np.zeros((len(images), len(words)))
    for start in range(0, len(images), batch_size):
        rows = [prompter.score_prompt(image) for image in images[start : start + batch_size]]
        batch = tensors(collate(rows, processor.tokenizer.pad_token_id), model.device)
        out[start : start + len(rows)] = logits_at_end(model, batch, words).numpy()
    model.train(was_training)
    return out


@torch.no_grad()
def logits_at_end(model: Any, batch: Mapping[str, Tensor], tokens: Sequence[int]) -> Tensor:
    """Return the next-token logits of `tokens` after each row's last real token, float64 [B,
    len(tokens)] on the CPU.

    `batch` is what `collate` made, as tensors; its labels are not looked at. The head's few rows
    are multiplied in float64: in bfloat16 a logit of 20 comes in steps of 1/8, and images tie.
    """
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    hidden = model.model(**inputs, use_cache=False).last_hidden_state
    last = inputs["attention_mask"].sum(dim=1) - 1
    at_end = hidden[torch.arange(len(hidden), device=hidden.device), last]
    head = model.lm_head.weight[torch.tensor(tokens, device=model.lm_head.weight.device)]
    # Moved first, because not every accelerator knows float64.
    return at_end.cpu().double() @ head.cpu().double().T


def level_probabilities(
    checkpoint: Checkpoint,
    images: Sequence[str | Path | Image.Image],
    root: Path = Path(),
    *,
    profile: Profile = PAPER,
    batch_size: int = 64,
    cache: dict[str, Picture] | None = None,
) -> NDArray[np.float64]:
    """Return the probability of each level for each image, float64 [n, levels], rows adding up to 1
    (Eq. 4): the softmax of `level_logits`, which says the rest."""
    return closed_softmax(
        level_logits(checkpoint, images, root, profile=profile, batch_size=batch_size, cache=cache)
    )


def scores(
    checkpoint: Checkpoint,
    images: Sequence[str | Path | Image.Image],
    root: Path = Path(),
    *,
    profile: Profile = PAPER,
    batch_size: int = 64,
    cache: dict[str, Picture] | None = None,
) -> NDArray[np.float64]:
    """Return the score of each image (Eq. 5), float64 [n], in `profile.score_range`: the profile's
    score of `level_logits`, which says the rest."""
    return profile.score(
        level_logits(checkpoint, images, root, profile=profile, batch_size=batch_size, cache=cache)
    )


@torch.no_grad()
def choose(
    checkpoint: Checkpoint,
    questions: Sequence[Mapping[str, Any]],
    root: Path = Path(),
    *,
    batch_size: int = 96,
    cache: dict[str, Picture] | None = None,
) -> list[int]:
    """Return, for each LLVisionQA question, which of its candidates the model finds likeliest.

    After the multiple-choice prompt each candidate is scored by the summed log-likelihood of its
    tokens and the end-of-turn token: with the end included that is the probability of exactly this
    reply, so a longer candidate needs no correction. Ties go to the first. A closed set over the
    candidates, as Eq. 4 is over the levels.
    """
    model, processor = checkpoint.model, checkpoint.processor
    encoder = Encoder(processor, root, max_length=1 << 20, cache=cache)
    flat = [
        (q, c, encoder.answer(question["img_path"], text, candidate))
        for q, question in enumerate(questions)
        for text in [multiple_choice_prompt(question["question"], question["candidates"])]
        for c, candidate in enumerate(question["candidates"])
    ]
    # Rows of like length go together, which saves padding.
    flat.sort(key=lambda entry: len(entry[2]["input_ids"]))
    likelihood = [np.full(len(q["candidates"]), -np.inf) for q in questions]
    was_training = model.training
    model.eval()
    for start in range(0, len(flat), batch_size):
        part = flat[start : start + batch_size]
        batch = tensors(
            collate([e for _, _, e in part], processor.tokenizer.pad_token_id), model.device
        )
        sums, _ = row_losses(model, batch)
        for (q, c, _), nll in zip(part, sums.double().cpu().tolist(), strict=True):
            likelihood[q][c] = -nll
    model.train(was_training)
    return [int(np.argmax(values)) for values in likelihood]
