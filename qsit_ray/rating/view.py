"""torch: an image that a model has read, and what it says of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from threading import Event
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, StoppingCriteria

from qsit_ray.data.encode import END, IMAGE, Shown, collate
from qsit_ray.models.choice import losses_after, padded
from qsit_ray.models.load import Checkpoint
from qsit_ray.models.loss import decoder_inputs, tensors
from qsit_ray.models.score import Prompter, evaluated
from qsit_ray.prompts import DESCRIBE, multiple_choice_prompt
from qsit_ray.rating.results import (
    MOST_TOKENS,
    Choice,
    Reply,
    check_candidates,
    check_most_tokens,
    choice_of,
)


class View:
    """An image, read once: the keys and values of the prompt up to its end serve every question,
    whose image token comes first."""

    @torch.no_grad()
    def __init__(self, checkpoint: Checkpoint, prompter: Prompter, image: Shown, name: str):
        """Raises InputError naming the image where it can't be read."""
        self._checkpoint, self._prompter, self._name = checkpoint, prompter, name
        row = prompter.prompt(image, f"{IMAGE}\n")
        end = int(np.flatnonzero(row["input_ids"] == checkpoint.processor.image_token_id)[-1]) + 1
        self._before = prompter.around_image(f"{IMAGE}\n")[0]
        self._read: list[int] = row["input_ids"][:end].tolist()
        ids = {key: row[key][:end] for key in ("input_ids", "attention_mask", "labels")}
        batch = tensors(collate([{**row, **ids}], self._pad), self._model.device)
        with evaluated(self._model):
            self._kept = self._model.model(**decoder_inputs(batch), use_cache=True).past_key_values

    @torch.no_grad()
    def ask(
        self, question: str, most_tokens: int = MOST_TOKENS, stop: Event | None = None
    ) -> Reply:
        """The answer to a question, of at most `most_tokens` tokens; the likeliest token each
        time. It is cut where it is when `stop` is set, by another thread."""
        check_most_tokens(most_tokens)
        ids = torch.tensor([self._read + self._behind(question)], device=self._model.device)
        end = self._checkpoint.processor.tokenizer.convert_tokens_to_ids(END)
        # Not the checkpoint's own settings, which would fill what is not said here: a base may draw
        # its answers, or be kept from repeating a word.
        settings, self._model.generation_config = self._model.generation_config, GenerationConfig()
        try:
            with evaluated(self._model):
                found = self._model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    past_key_values=copy.deepcopy(self._kept),
                    do_sample=False,
                    max_new_tokens=most_tokens,
                    eos_token_id=end,
                    pad_token_id=self._pad,
                    stopping_criteria=None if stop is None else [_Stop(stop)],
                )
        finally:
            self._model.generation_config = settings
        answer = found[0, ids.shape[1] :].tolist()
        is_whole = end in answer
        text: str = self._checkpoint.processor.tokenizer.decode(answer, skip_special_tokens=True)
        return Reply(self._name, question, text.strip(), is_whole, ids.shape[1], len(answer))

    @torch.no_grad()
    def choose(self, question: str, candidates: Sequence[str]) -> Choice:
        """The likeliest of the candidates, as `qsit_ray.models.choice.answer` finds it. Raises
        InputError for fewer than two different ones."""
        check_candidates(candidates)
        device = self._model.device
        text = self._closed(question, candidates).removeprefix(f"{IMAGE}\n")
        behind = torch.tensor([self._behind(text)], device=device)
        with evaluated(self._model):
            prompt = self._model.model(
                input_ids=behind, past_key_values=copy.deepcopy(self._kept), use_cache=True
            )
            losses = losses_after(
                self._model,
                prompt.last_hidden_state[:, -1],
                prompt.past_key_values,
                torch.ones((1, len(self._read) + behind.shape[1]), dtype=torch.long, device=device),
                torch.from_numpy(padded(self._prompter, candidates)).to(device),
                torch.zeros(len(candidates), dtype=torch.long, device=device),
            )
        shares = (-losses.cpu().double()).softmax(dim=0).tolist()
        return choice_of(self._name, question, candidates, shares)

    def describe(self, most_tokens: int = MOST_TOKENS) -> Reply:
        """What the model says of the image's quality."""
        return self.ask(DESCRIBE, most_tokens)

    @property
    def _model(self) -> Any:
        return self._checkpoint.model

    @property
    def _pad(self) -> int:
        return int(self._checkpoint.processor.tokenizer.pad_token_id)

    def _closed(self, question: str, candidates: Sequence[str]) -> str:
        return multiple_choice_prompt(question, candidates, self._prompter.profile.choice)

    def _behind(self, text: str) -> list[int]:
        """The tokens behind the image of a question about it."""
        before, behind = self._prompter.around_image(f"{IMAGE}\n{text}")
        assert before == self._before  # a chat form puts nothing else before a turn's text
        return behind


class _Stop(StoppingCriteria):
    """Ends a generation once an event is set."""

    def __init__(self, event: Event):
        self._event = event

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.BoolTensor:
        return torch.full(input_ids.shape[:1], self._event.is_set(), device=input_ids.device)
