"""torch: quality scores by level probabilities (Eq. 4-5) and closed-set multiple choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from qsit_ray.data.demo_questions import LEVEL_STEM, SCORING_QUESTION, multiple_choice_prompt
from qsit_ray.data.encode import Encoder, Picture, collate
from qsit_ray.errors import InputError
from qsit_ray.levels import LEVELS
from qsit_ray.levels import level_probabilities as closed_softmax
from qsit_ray.models.load import Checkpoint
from qsit_ray.models.loss import row_losses, tensors


@dataclass(frozen=True)
class Profile:
    """How a score is asked for: the question, the words the answer begins with, the level words,
    worst first."""

    question: str
    stem: str
    words: tuple[str, ...]


PAPER = Profile(SCORING_QUESTION, LEVEL_STEM, LEVELS)


def level_tokens(tokenizer: Any, profile: Profile = PAPER) -> list[int]:
    """Return the first token of each level word after the stem.

    Raises InputError when two words share it, since Eq. 4 could not tell them apart, or when the
    stem's tokens change with the word that follows.
    """
    stem = tokenizer(profile.stem, add_special_tokens=False)["input_ids"]
    first: dict[int, str] = {}
    for word in profile.words:
        ids = tokenizer(f"{profile.stem} {word}", add_special_tokens=False)["input_ids"]
        if ids[: len(stem)] != stem or len(ids) == len(stem):
            raise InputError(
                f"level word {word!r}: the tokenizer merges it with the stem before it"
            )
        token = ids[len(stem)]
        if token in first:
            raise InputError(
                f"level words {first[token]!r} and {word!r} begin with the same token: "
                "their probabilities (Eq. 4) can't be told apart"
            )
        first[token] = word
    return list(first)


@torch.no_grad()
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
    (Eq. 4).

    The logits are read where the level word stands after the stem. Scores (Eq. 5) are
    these times `qsit_ray.levels.LEVEL_WEIGHTS`. Paths are relative to `root`. Raises InputError for
    an image that can't be read.
    """
    model, processor = checkpoint.model, checkpoint.processor
    words = level_tokens(processor.tokenizer, profile)
    encoder = Encoder(processor, root, max_length=1 << 20, cache=cache)
    was_training = model.training
    model.eval()
    out = np.zeros((len(images), len(words)))
    for start in range(0, len(images), batch_size):
        rows = [
            encoder.prompt(image, profile.question, profile.stem)
            for image in images[start : start + batch_size]
        ]
        batch = tensors(collate(rows, processor.tokenizer.pad_token_id), model.device)
        del batch["labels"]
        hidden = model.model(**batch, use_cache=False).last_hidden_state
        last = batch["attention_mask"].sum(dim=1) - 1
        at_level = hidden[torch.arange(len(rows), device=hidden.device), last]
        logits = model.lm_head(at_level)[:, words].double().cpu().numpy()
        out[start : start + len(rows)] = closed_softmax(logits)
    model.train(was_training)
    return out


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
