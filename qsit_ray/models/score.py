"""torch: level logits of images (Eq. 4) and closed-set multiple choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from qsit_ray.data.catalog import Question
from qsit_ray.data.encode import Encoded, Encoder, Picture, collate
from qsit_ray.models.load import Checkpoint
from qsit_ray.models.loss import hidden_states, row_losses, tensors
from qsit_ray.prompts import PAPER, Profile, level_tokens, multiple_choice_prompt


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
    """The logit of each level word for each image, float64 [n, levels], in the order of
    `profile.words`.

    `profile.score` of these is the score (Eq. 5), `profile.rank_key` the value to rank by, and
    `qsit_ray.levels.level_probabilities` the probabilities (Eq. 4). Paths are relative to `root`.
    Raises InputError for an image that can't be read, and, before any image is read, for a
    tokenizer that can't tell the level words apart.
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
    """The next-token logits of `tokens` after each row's last real token, float64 [B, len(tokens)]
    on the CPU.

    `batch` comes from `collate`, as tensors; its labels are ignored. The head's few rows are
    multiplied in float64: in bfloat16 a logit of 20 comes in steps of 1/8, and images tie.
    """
    hidden = hidden_states(model, batch)
    last = batch["attention_mask"].sum(dim=1) - 1
    at_end = hidden[torch.arange(len(hidden), device=hidden.device), last]
    rows: list[Tensor] = []

    def read(head: torch.nn.Module, *_: object) -> None:
        rows.append(head.weight[torch.tensor(tokens, device=head.weight.device)].cpu().double())

    # The head is called, and its weights are read while it runs: at ZeRO stage 3 they are gathered
    # only then, and gathering them in any other way inside DeepSpeed's forward fails. First among
    # the hooks, because DeepSpeed's own hook releases the weights.
    hook = model.lm_head.register_forward_hook(read, prepend=True)
    try:
        model.lm_head(at_end)
    finally:
        hook.remove()
    # Moved first, because not every accelerator has float64.
    return at_end.cpu().double() @ rows[0].T


def candidate_rows(encoder: Encoder, question: Question) -> list[Encoded]:
    """The multiple-choice prompt with each candidate as its answer."""
    candidates = question["candidates"]
    text = multiple_choice_prompt(question["question"], candidates)
    return [encoder.answer(question["img_path"], text, candidate) for candidate in candidates]


@torch.no_grad()
def choose(
    checkpoint: Checkpoint,
    questions: Sequence[Question],
    root: Path = Path(),
    *,
    batch_size: int = 96,
    cache: dict[str, Picture] | None = None,
) -> list[int]:
    """The index of the likeliest candidate for each LLVisionQA question.

    After the multiple-choice prompt each candidate is scored by the summed log-likelihood of its
    tokens and the end-of-turn token. With the end included that is the probability of exactly this
    reply, so a longer candidate needs no correction. Ties go to the first. The candidates are a
    closed set, as the levels are in Eq. 4.
    """
    model, processor = checkpoint.model, checkpoint.processor
    encoder = Encoder(processor, root, max_length=1 << 20, cache=cache)
    flat = [
        (q, c, row)
        for q, question in enumerate(questions)
        for c, row in enumerate(candidate_rows(encoder, question))
    ]
    # Rows of similar length share a batch, which saves padding.
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
