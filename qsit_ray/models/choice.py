"""torch: closed-set multiple choice: each candidate's likelihood after one shared prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from qsit_ray.data.catalog import Question
from qsit_ray.data.encode import IGNORED, Encoded, Encoder, Picture, collate
from qsit_ray.models.budget import encoded
from qsit_ray.models.load import Checkpoint
from qsit_ray.models.loss import decoder_inputs, tensors
from qsit_ray.models.score import BATCH_TOKENS, Prompter, evaluated
from qsit_ray.prompts import PAPER, Profile, multiple_choice_prompt


@torch.no_grad()
def answer(
    checkpoint: Checkpoint,
    questions: Sequence[Question],
    root: Path = Path(),
    *,
    profile: Profile = PAPER,
    batch_tokens: int = BATCH_TOKENS,
    cache: dict[str, Picture] | None = None,
    threads: int = 0,
) -> list[NDArray[np.float64]]:
    """The probability of each candidate of each LLVisionQA question, float64 [candidates].

    After the profile's multiple-choice prompt each candidate is scored by the summed log-likelihood
    of its tokens and the end-of-turn token. With the end included that is the probability of
    exactly this reply, so a longer candidate needs no correction. The candidates are a closed set,
    as the levels are in Eq. 4: their probabilities sum to 1. The answer is the likeliest, the first
    of equals.

    At most `batch_tokens` tokens go through the model at once; `threads` encode the next questions
    meanwhile, and no others.
    """
    model, processor = checkpoint.model, checkpoint.processor
    prompter = Prompter(processor, root, profile, cache)
    found: dict[int, NDArray[np.float64]] = {}
    with evaluated(model):
        lengths = [question_length(prompter, question) for question in questions]
        prompt = partial(question_prompt, prompter)
        for part, rows in encoded(questions, lengths, prompt, batch_tokens, threads):
            asked = [questions[item] for item in part]
            batch = question_batch(prompter, asked, rows, processor.tokenizer.pad_token_id)
            losses = candidate_losses(model, tensors(batch, model.device))
            found |= zip(part, probabilities(asked, losses), strict=True)
    return [found[item] for item in range(len(questions))]


def question_length(prompter: Prompter, question: Question) -> int:
    """The tokens of a question's prompt and of all its candidates."""
    answers = sum(len(prompter.reply(candidate)) for candidate in question["candidates"])
    return prompter.prompt_length(question["img_path"], _asked(prompter, question)) + answers


def question_prompt(prompter: Prompter, question: Question) -> Encoded:
    """The multiple-choice prompt of a question, encoded."""
    return prompter.prompt(question["img_path"], _asked(prompter, question))


def _asked(prompter: Prompter, question: Question) -> str:
    form = prompter.profile.choice
    return multiple_choice_prompt(question["question"], question["candidates"], form)


def question_batch(
    encoder: Encoder, questions: Sequence[Question], prompts: Sequence[Encoded], pad_token_id: int
) -> Encoded:
    """The questions' `prompts` as `collate` pads them, with `candidates` int64 [C, T], all their
    candidates with their end-of-turn tokens and `IGNORED` behind, and `asked` int64 [C], the prompt
    of each."""
    asked = np.repeat(np.arange(len(questions)), [len(q["candidates"]) for q in questions])
    candidates = [text for question in questions for text in question["candidates"]]
    batch = collate(prompts, pad_token_id)
    del batch["labels"]
    return {**batch, "candidates": padded(encoder, candidates), "asked": asked}


def padded(encoder: Encoder, candidates: Sequence[str]) -> NDArray[np.int64]:
    """The tokens of candidates with their end-of-turn tokens, int64 [C, T], `IGNORED` behind."""
    replies = [encoder.reply(text) for text in candidates]
    # At least two columns, so that every batch needs the decoder twice (see `candidate_losses`).
    found = np.full((len(replies), max(2, *map(len, replies))), IGNORED, np.int64)
    for row, reply in zip(found, replies, strict=True):
        row[: len(reply)] = reply
    return found


@torch.no_grad()
def candidate_losses(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """The summed negative log-likelihood of each candidate in nats, float [C].

    `batch` comes from `question_batch`, as tensors. The decoder reads each prompt once, and then
    all candidates from the keys and values that it kept: two passes and one call of the head
    whatever the batch, since at ZeRO stage 3 all ranks must make the same calls.
    """
    prompts = model.model(**decoder_inputs(batch), use_cache=True)
    mask = batch["attention_mask"]
    at_end = prompts.last_hidden_state[
        torch.arange(len(mask), device=mask.device), mask.sum(dim=1) - 1
    ]
    return losses_after(
        model, at_end, prompts.past_key_values, mask, batch["candidates"], batch["asked"]
    )


@torch.no_grad()
def losses_after(
    model: Any, at_end: Tensor, kept: Any, mask: Tensor, candidates: Tensor, asked: Tensor
) -> Tensor:
    """`candidate_losses` after prompts that were read: the hidden state at their ends [B, hidden],
    the keys and values `kept` of them, which are used up, and their attention `mask` [B, T]."""
    lengths = mask.sum(dim=1)
    kept.batch_select_indices(asked)
    given, wanted = candidates[:, :-1], candidates[:, 1:]
    real = given != IGNORED
    places = torch.arange(given.shape[1], device=given.device)
    hidden = model.model(
        input_ids=given.where(real, 0),
        # The padding behind a shorter prompt stays hidden.
        attention_mask=torch.cat([mask[asked], real.to(mask.dtype)], dim=1),
        position_ids=lengths[asked, None] + places,
        past_key_values=kept,
        use_cache=True,
    ).last_hidden_state
    predicted = wanted != IGNORED
    logits = model.lm_head(torch.cat([at_end, hidden[predicted]])).float()
    first = logits[: len(mask)].log_softmax(dim=1)[asked, candidates[:, 0]]
    later = cross_entropy(logits[len(mask) :], wanted[predicted], reduction="none")
    return (-first).index_add(0, predicted.nonzero()[:, 0], later)


def probabilities(questions: Sequence[Question], losses: Tensor) -> list[NDArray[np.float64]]:
    """The probability of each question's candidates in their closed set. `losses` is of
    `candidate_losses`, and may go on with those of other questions."""
    counts = [len(question["candidates"]) for question in questions]
    each = losses.cpu().double()[: sum(counts)].split(counts)  # one copy, not one a question
    return [(-of_one).softmax(dim=0).numpy() for of_one in each]


def is_right(question: Question, found: NDArray[np.float64]) -> bool:
    """Whether the likeliest candidate is the right one; `found`: a probability of each."""
    return question["candidates"][int(found.argmax())] == question["correct_ans"]


def probability_of_right(question: Question, found: NDArray[np.float64]) -> float:
    """The probability of the right candidate."""
    return float(found[question["candidates"].index(question["correct_ans"])])
