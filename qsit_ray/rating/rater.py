"""torch: the one way to use a model: `Rater.load`, then score, choose, ask and describe."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Resampling

from qsit_ray.ahead import ahead
from qsit_ray.data.catalog import Question
from qsit_ray.data.encode import IMAGE, Shown
from qsit_ray.errors import InputError
from qsit_ray.models import choice, load, profiles
from qsit_ray.models.load import Checkpoint
from qsit_ray.models.score import BATCH_TOKENS, Prompter, logits_or_errors
from qsit_ray.prompts import PAPER, Profile, level_tokens
from qsit_ray.rating.pictures import Source, Unreachable, is_kept, name_of, shown
from qsit_ray.rating.results import (
    MOST_TOKENS,
    Choice,
    Precision,
    Reject,
    Reply,
    Score,
    choice_of,
    score_of,
)
from qsit_ray.rating.view import View

WINDOW = 64
"""Images whose sizes are known before the first of them is scored: a batch is of like sizes."""
MOST_THREADS = 8
CPU_TOKENS = 2_048
"""On a CPU more tokens at once are no faster, and leave less to decode meanwhile."""
READ_ONCE = 1_024
"""An image of so many tokens is read once for all its questions. With fewer, questions of several
images together take less time."""
_TYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
PACKAGES = ("qsit_ray", "torch", "transformers", "pillow")
"""Whose versions may change a score's last digits."""


Opened = tuple[str, Shown | InputError]
"""An image's name and the image, or what is wrong with it."""


class Rater:
    """A model and the profile of its prompt.

    A score depends on the image alone: not on its batch, its neighbours or their order, up to 1e-4
    of a level in float32. In bfloat16, whose numbers have eight bits, it may move by hundredths.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        profile: Profile = PAPER,
        batch_tokens: int | None = None,
        threads: int | None = None,
    ):
        """`batch_tokens`: at most so many tokens, padding included, go through the model at once;
        by default more on a GPU, which they keep busy, than on a CPU, whose caches are small.
        `threads`: those that decode and resize the next images meanwhile; by default one a core but
        for the model's. Raises InputError for a tokenizer that can't tell the level words apart."""
        level_tokens(checkpoint.processor.tokenizer, profile)
        self.checkpoint, self.profile = checkpoint, profile
        on_cpu = checkpoint.model.device.type == "cpu"
        self.batch_tokens = batch_tokens or (CPU_TOKENS if on_cpu else BATCH_TOKENS)
        spare = len(os.sched_getaffinity(0)) - 1
        self.threads = min(MOST_THREADS, max(1, spare)) if threads is None else threads
        self.prompter = Prompter(checkpoint.processor, Path(), profile)

    @classmethod
    def load(
        cls,
        model: str | Path,
        profile: str | None = None,
        device: str | None = None,
        precision: Precision | None = None,
        batch_tokens: int | None = None,
        threads: int | None = None,
    ) -> Rater:
        """Load a folder or a name on the Hub. `profile` is paper, or official for the released
        weights; by default the folder's own, or else the paper's. `device` is a GPU where there is
        one; `precision` is bf16 there, and else fp32.

        Raises InputError naming the model where it is not one.
        """
        found = profiles.chosen(profile, str(model))
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        gpu = torch.device(device).type != "cpu"
        dtype = _TYPES[precision or ("bf16" if gpu else "fp32")]
        checkpoint = load.load(model, dtype, load.attention(gpu, dtype))
        checkpoint.model.to(device)
        return cls(checkpoint, found, batch_tokens, threads)

    def score(self, image: Source) -> Score:
        """The score of one image. Raises InputError naming it where it can't be read."""
        (found,) = self.scores([image])
        if isinstance(found, Reject):
            raise InputError(found.reason)
        return found

    def scores(self, images: Iterable[Source]) -> Iterator[Score | Reject]:
        """Of each image, in order, its score, or why it can't be read. Any number of images may
        come: `WINDOW` are read while as many before them are scored."""
        opening = map(_opening, images, count(1))
        windows = iter(lambda: list(islice(opening, WINDOW)), [])
        for opened in ahead(windows, lambda opened: opened(), self.threads):
            yield from self._window(opened)

    def _window(self, opened: Sequence[Opened]) -> Iterator[Score | Reject]:
        found: dict[int, Score | Reject] = {}
        sound = []
        for place, (name, image) in enumerate(opened):
            if isinstance(image, InputError):
                found[place] = Reject(name, str(image), isinstance(image, Unreachable))
            else:
                sound.append((place, name, image))
        logits = logits_or_errors(
            self.checkpoint,
            [image for _, _, image in sound],
            self.prompter,
            batch_tokens=self.batch_tokens,
            threads=self.threads,
        )
        for at, value in logits:
            place, name, _ = sound[at]
            if isinstance(value, OSError):  # the machine's: another try may succeed
                reason = f"{name}: can't be read: {value.strerror or value}"
                found[place] = Reject(name, reason, transient=True)
                continue
            try:
                if isinstance(value, InputError):
                    raise value
                found[place] = score_of(name, value, self.profile)
            except InputError as error:  # also of logits that are not finite
                reason = str(error) if name in str(error) else f"{name}: {error}"
                found[place] = Reject(name, reason)
        yield from (found[place] for place in range(len(opened)))

    def view(self, image: Source) -> View:
        """The image, read once for any number of questions. Raises InputError naming it where it
        can't be read."""
        name = name_of(image, 1)
        return View(self.checkpoint, self.prompter, shown(image, name), name)

    def ask(self, image: Source, question: str, most_tokens: int = MOST_TOKENS) -> Reply:
        """The answer to a question, of at most `most_tokens` tokens; the likeliest token each time.
        Errors as `view`."""
        return self.view(image).ask(question, most_tokens)

    def answers(self, questions: Sequence[Question], root: Path) -> list[Choice]:
        """The likeliest candidate of each question of a catalog, whose images are relative to
        `root`. A large image with several questions is read once; other questions go through the
        model together. Raises InputError for an image that can't be read."""
        prompter = Prompter(self.checkpoint.processor, root, self.profile)
        by_image: dict[str, list[int]] = {}
        for number, question in enumerate(questions):
            by_image.setdefault(question["img_path"], []).append(number)
        found: dict[int, Choice] = {}
        for image, numbers in by_image.items():
            if len(numbers) > 1 and prompter.prompt_length(image, IMAGE) >= READ_ONCE:
                view = View(self.checkpoint, prompter, image, image)
                for number in numbers:
                    asked = questions[number]
                    found[number] = view.choose(asked["question"], asked["candidates"])
        others = [number for number in range(len(questions)) if number not in found]
        shares = choice.answer(
            self.checkpoint,
            [questions[number] for number in others],
            root,
            profile=self.profile,
            batch_tokens=self.batch_tokens,
            threads=self.threads,
        )
        for number, of_one in zip(others, shares, strict=True):
            each = questions[number]
            found[number] = choice_of(
                each["img_path"], each["question"], each["candidates"], of_one.tolist()
            )
        return [found[number] for number in range(len(questions))]

    def choose(self, image: Source, question: str, candidates: Sequence[str]) -> Choice:
        """The likeliest of the candidates. Errors as `view`, and for fewer than two different
        candidates."""
        return self.view(image).choose(question, candidates)

    def describe(self, image: Source, most_tokens: int = MOST_TOKENS) -> Reply:
        """What the model says of the image's quality. Errors as `view`."""
        return self.view(image).describe(most_tokens)

    @property
    def conditions(self) -> dict[str, Any]:
        """What a score depends on beside the image: plain values, to be kept with the scores."""
        model, images = self.checkpoint.model, self.checkpoint.processor.image_processor
        grids = getattr(images, "image_grid_pinpoints", None) or []
        return {
            "model": self.checkpoint.folder,
            "profile": self.profile.name,
            "score_range": list(self.profile.score_range),
            "precision": str(model.dtype).removeprefix("torch."),
            "device": model.device.type,
            "resize": Resampling(images.resample).name.lower(),
            "tile": [int(images.size["height"]), int(images.size["width"])],
            "tile_grids": len(grids),
            "upright_by_exif": True,
            "transparency": "ignored",
            "versions": {name: version(name) for name in PACKAGES},
        }


def _opening(source: Source, number: int) -> Callable[[], Opened]:
    """What opens an image in any thread. Nothing is left to open where its giver may change it."""
    name = name_of(source, number)
    if is_kept(source):
        return partial(_opened, source, name)
    opened = _opened(source, name)
    return lambda: opened


def _opened(source: Source, name: str) -> Opened:
    try:
        return name, shown(source, name)
    except InputError as error:
        return name, error
