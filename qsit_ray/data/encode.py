"""pure: rows to arrays: chat text to token numbers, labels on answers only, images to pixel values.

The same code serves the demo's processor and the real LLaVA-OneVision one (any-resolution tiles
included). The chat form is Qwen's ChatML without a system turn: the paper's data puts its prefix in
the user turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qsit_ray.data import images
from qsit_ray.data.catalog import CatalogRow
from qsit_ray.errors import InputError

LOSS_MASK = "answer"
"""The tokens that count in the loss: every answer and the end-of-turn token after it."""

IGNORED = -100
IMAGE = "<image>"
END = "<|im_end|>"
AFTER = "\n"
"""What follows the end of an answer."""
Encoded = dict[str, NDArray[Any]]


def asked(text: str) -> str:
    """A user's turn in the chat form, and the beginning of the answer's."""
    return f"<|im_start|>user\n{text}{END}\n<|im_start|>assistant\n"


def answered(text: str) -> str:
    """An answer and its end; all of it counts in the loss."""
    return text + END


@dataclass(frozen=True)
class Picture:
    """An image's tiles, uint8 [tiles, 3, H, W], its (height, width), and its number of placeholder
    tokens. The model normalises the tiles (`qsit_ray.models.tiles`), which are a quarter of the
    bytes that way."""

    pixel_values: NDArray[np.uint8]
    size: tuple[int, int]
    tokens: int


class Encoder:
    """Turns rows of a catalog into arrays for one processor.

    `cut` counts the rows so far whose answer was cut at `max_length` tokens. A `cache` keeps each
    image's pixel values by path, since a trial reads the same rows many times.
    """

    def __init__(
        self, processor: Any, root: Path, max_length: int, cache: dict[str, Picture] | None = None
    ) -> None:
        self.processor = processor
        self.root = root
        self.max_length = max_length
        self.cache = cache
        self.cut = 0
        self._image_id = int(processor.image_token_id)
        self._texts: dict[str, list[int]] = {}
        self._tokenizing = Lock()
        self._sizes: dict[str, tuple[int, int]] = {}

    def encode(self, row: CatalogRow) -> Encoded:
        """Encode a training row.

        Returns input_ids, attention_mask, labels: int64 [L]; pixel_values: uint8 [P, 3, H, W];
        image_sizes: int64 [2] (height, width). Labels are -100 except for answer tokens and their
        end-of-turn token. A row without an image gets a blank one after its text, whose
        placeholders no token attends to: every micro-batch then uses the vision tower, which ZeRO-3
        needs of all ranks.

        Raises InputError naming the row or the image file: an image without its image token or the
        reverse, turns that do not alternate, a missing or undecodable image, no answer token within
        `max_length`.
        """
        name = f"row {row.get('id', '?')}"
        turns = row["conversation"]
        speakers = [turn["from"] for turn in turns]
        if not turns or speakers != ["human", "gpt"] * (len(turns) // 2):
            raise InputError(f"{name}: turns must alternate human, gpt and end with gpt")
        ids: list[int] = []
        labels: list[int] = []
        for human, gpt in zip(turns[::2], turns[1::2], strict=True):
            question = self._ask(human["value"])
            answer = self._tokens(answered(gpt["value"]))
            after = self._tokens(AFTER)
            ids += question + answer + after
            labels += [IGNORED] * len(question) + answer + [IGNORED] * len(after)
        return self._with_image(ids, labels, row.get("image"), name)

    def prompt(self, image: str | Path | Image.Image, question: str, reply: str = "") -> Encoded:
        """Encode one question and the start of its answer, without labels; shapes as `encode`."""
        ids = self._ask(question) + (self._tokens(reply) if reply else [])
        return self._with_image(ids, [IGNORED] * len(ids), image, f"image {image}")

    def reply(self, text: str) -> list[int]:
        """The tokens of a whole answer, with its end-of-turn token."""
        return self._tokens(answered(text))

    def answer(self, image: str | Path | Image.Image, question: str, reply: str) -> Encoded:
        """Encode one question with a whole answer, labelled as in `encode`."""
        ids, answer = self._ask(question), self.reply(reply)
        labels = [IGNORED] * len(ids) + answer
        return self._with_image(ids + answer, labels, image, f"image {image}")

    def row_length(self, row: CatalogRow) -> int:
        """The tokens that `encode` gives a row. Of its image only the size is read."""
        turns = row["conversation"]
        human = sum(len(self._ask(turn["value"])) for turn in turns[::2])
        gpt = sum(len(self.reply(turn["value"])) + len(self._tokens(AFTER)) for turn in turns[1::2])
        text, image = human + gpt, row.get("image")
        if image is None:
            return min(text, self.max_length) + self.image_tokens(None)
        return min(text - 1 + self.image_tokens(image), self.max_length)

    def prompt_length(self, image: str | Path | Image.Image, question: str, reply: str = "") -> int:
        """The tokens that `prompt` gives. Of the image only the size is read."""
        text = len(self._ask(question)) + (len(self._tokens(reply)) if reply else 0)
        return min(text - 1 + self.image_tokens(image), self.max_length)

    def image_tokens(self, image: str | Path | Image.Image | None) -> int:
        """The placeholder tokens of an image, or of a blank one, by its size alone."""
        side = int(self.processor.image_processor.size["height"])
        if image is None:
            size = side, side
        elif isinstance(image, Image.Image):
            size = image.height, image.width
        else:
            size = self._sizes.get(str(image)) or self._sizes.setdefault(
                str(image), images.size(self.root / image)
            )
        # Only the shape of the tiles is asked for.
        tiles = np.broadcast_to(np.uint8(0), (1, 3, side, side))
        inputs = {"pixel_values": [tiles], "image_sizes": [size], "batch_num_images": [1]}
        expanded: str = self.processor.replace_image_token(inputs, 0)
        return expanded.count(self.processor.image_token)

    def picture(self, image: str | Path | Image.Image) -> Picture:
        """Preprocess an image: a path, absolute or relative to the root, or a PIL image."""
        if isinstance(image, Image.Image):
            return self._preprocess(images.upright(image))
        return self._cached(str(image), lambda: self._preprocess(images.read(self.root / image)))

    def blank(self) -> Picture:
        """The black image of a row without one."""
        side = int(self.processor.image_processor.size["height"])
        return self._cached("", lambda: self._preprocess(Image.new("RGB", (side, side))))

    def _cached(self, key: str, make: Callable[[], Picture]) -> Picture:
        if self.cache is None:
            return make()
        if key not in self.cache:
            self.cache[key] = make()
        return self.cache[key]

    def _ask(self, text: str) -> list[int]:
        return self._tokens(asked(text))

    def _tokens(self, text: str) -> list[int]:
        # All of D1 asks one question, so token numbers are remembered.
        known = self._texts.get(text)
        if known is None:
            # A tokenizer's call may set its padding, which fails while another call reads it.
            with self._tokenizing:
                known = self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
            if len(self._texts) < 100_000:
                self._texts[text] = known
        return list(known)

    def _preprocess(self, rgb: Image.Image) -> Picture:
        inputs = self.processor.image_processor(
            images=[rgb], do_rescale=False, do_normalize=False, return_tensors="np"
        )
        values = np.asarray(inputs["pixel_values"][0])
        height, width = (int(v) for v in inputs["image_sizes"][0])
        expanded = self.processor.replace_image_token(
            {"pixel_values": [values], "image_sizes": [(height, width)], "batch_num_images": [1]}, 0
        )
        return Picture(values, (height, width), expanded.count(self.processor.image_token))

    def _with_image(self, ids: list[int], labels: list[int], image: Any, name: str) -> Encoded:
        places = [i for i, t in enumerate(ids) if t == self._image_id]
        if image is None:
            if places:
                raise InputError(f"{name}: the text has {IMAGE} but the row has no image")
            picture = self.blank()
        else:
            if len(places) != 1:
                raise InputError(
                    f"{name}: expected {IMAGE} once for its image, found it {len(places)} times"
                )
            picture = self.picture(image)
            at, tokens = places[0], picture.tokens
            ids = ids[:at] + [self._image_id] * tokens + ids[at + 1 :]
            labels = labels[:at] + [IGNORED] * tokens + labels[at + 1 :]
        ids, labels = self._shorten(ids, labels, name)
        mask = [1] * len(ids)
        if image is None:
            ids = ids + [self._image_id] * picture.tokens
            labels = labels + [IGNORED] * picture.tokens
            mask += [0] * picture.tokens
        return {
            "input_ids": np.array(ids, np.int64),
            "attention_mask": np.array(mask, np.int64),
            "labels": np.array(labels, np.int64),
            "pixel_values": picture.pixel_values,
            "image_sizes": np.array(picture.size, np.int64),
        }

    def _shorten(self, ids: list[int], labels: list[int], name: str) -> tuple[list[int], list[int]]:
        if len(ids) <= self.max_length:
            return ids, labels
        labelled = sum(t != IGNORED for t in labels)
        kept = labels[: self.max_length]
        if self._image_id in ids[self.max_length :] or (
            labelled and all(t == IGNORED for t in kept)
        ):
            raise InputError(
                f"{name}: {len(ids)} tokens leave no answer within max_length {self.max_length}"
            )
        self.cut += sum(t != IGNORED for t in kept) < labelled
        return ids[: self.max_length], kept


def collate(rows: Sequence[Encoded], pad_token_id: int) -> Encoded:
    """Stack encoded rows: input_ids, attention_mask, labels int64 [B, L], pixel_values uint8 [B,
    P, 3, H, W], image_sizes int64 [B, 2].

    Text is padded on the right. Images of fewer tiles are padded with zero tiles at the end; the
    model drops them: it computes the number of real ones from image_sizes.
    """
    length = max(len(r["input_ids"]) for r in rows)
    fill = {"input_ids": pad_token_id, "attention_mask": 0, "labels": IGNORED}
    out: Encoded = {
        key: np.stack([np.pad(r[key], (0, length - len(r[key])), constant_values=v) for r in rows])
        for key, v in fill.items()
    }
    tiles = max(r["pixel_values"].shape[0] for r in rows)
    pixels = np.zeros((len(rows), tiles, *rows[0]["pixel_values"].shape[1:]), np.uint8)
    for i, row in enumerate(rows):
        pixels[i, : row["pixel_values"].shape[0]] = row["pixel_values"]
    out["pixel_values"] = pixels
    out["image_sizes"] = np.stack([r["image_sizes"] for r in rows])
    return out
