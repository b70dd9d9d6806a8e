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
from qsit_ray.data.pack import place
from qsit_ray.data.tiling import cut_tiles, is_plain
from qsit_ray.errors import InputError

LOSS_MASK = "answer"
"""The tokens that count in the loss: every answer and the end-of-turn token after it."""

IGNORED = -100
IMAGE = "<image>"
END = "<|im_end|>"
AFTER = "\n"
"""What follows the end of an answer."""
Encoded = dict[str, NDArray[Any]]
Shown = str | Path | images.Content | Image.Image
"""An image: a path, absolute or relative to the encoder's root, a file's content, or a picture of
PIL. A path that is a text is a catalog's: its file may be in a pack, and its size is remembered."""

SEVERAL = "of several"
MOST_KEPT = 100_000
"""Texts and sizes of images whose tokens are remembered."""
NO_TOKEN = -1
"""In place of the image token's number, of a model that reads text alone."""
PICTURES = ("pixel_values", "image_sizes", "batch_num_images")
"""The arrays of a batch that a model of text alone does not have."""


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
        self.reads_images = processor.image_processor is not None
        self._image_id = int(processor.image_token_id) if self.reads_images else NO_TOKEN
        self._cuts_tiles = self.reads_images and is_plain(processor.image_processor)
        self._texts: dict[str, list[int]] = {}
        self._placeholder_counts: dict[tuple[tuple[int, ...], tuple[int, ...], bool], int] = {}
        self._tokenizing = Lock()
        self._sizes: dict[str, tuple[int, int]] = {}

    def encode(self, row: CatalogRow) -> Encoded:
        """Encode a training row.

        Returns input_ids, attention_mask, labels: int64 [L]; pixel_values: uint8 [P, 3, H, W], the
        tiles of all its images; image_sizes: int64 [N, 2] (height, width). Labels are -100 except
        for answer tokens and their end-of-turn token. An image token stands for one image, in the
        row's order; LLaVA-OneVision cuts the only image of a row into tiles, and makes one tile of
        each of several. A row without an image gets a blank one after its text, whose placeholders
        no token attends to: every micro-batch then uses the vision tower, which ZeRO-3 needs of all
        ranks. Of a model that reads text alone there are no pixel_values and image_sizes.

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
        return self._with_images(ids, labels, [image["path"] for image in row["images"]], name)

    def prompt(self, image: Shown, question: str, reply: str = "") -> Encoded:
        """Encode one question and the start of its answer, without labels; shapes as `encode`."""
        ids = self._ask(question) + (self._tokens(reply) if reply else [])
        return self._with_images(ids, [IGNORED] * len(ids), [image], f"image {image}")

    def reply(self, text: str) -> list[int]:
        """The tokens of a whole answer, with its end-of-turn token."""
        return self._tokens(answered(text))

    def answer(self, image: Shown, question: str, reply: str) -> Encoded:
        """Encode one question with a whole answer, labelled as in `encode`."""
        ids, answer = self._ask(question), self.reply(reply)
        labels = [IGNORED] * len(ids) + answer
        return self._with_images(ids + answer, labels, [image], f"image {image}")

    def row_length(self, row: CatalogRow) -> int:
        """The tokens that `encode` gives a row. Of its image only the size is read."""
        turns = row["conversation"]
        human = sum(len(self._ask(turn["value"])) for turn in turns[::2])
        gpt = sum(len(self.reply(turn["value"])) + len(self._tokens(AFTER)) for turn in turns[1::2])
        text, paths = human + gpt, [image["path"] for image in row["images"]]
        if not paths:
            blank = self.image_tokens(None) if self.reads_images else 0
            return min(text, self.max_length) + blank
        alone = len(paths) == 1
        placeholders = sum(self.image_tokens(path, alone) - 1 for path in paths)
        return min(text + placeholders, self.max_length)

    def prompt_length(self, image: Shown, question: str, reply: str = "") -> int:
        """The tokens that `prompt` gives. Of the image only the size is read."""
        text = len(self._ask(question)) + (len(self._tokens(reply)) if reply else 0)
        return min(text - 1 + self.image_tokens(image), self.max_length)

    def image_tokens(self, image: Shown | None, alone: bool = True) -> int:
        """The placeholder tokens of an image, or of a blank one, by its size alone; `alone`: it is
        the only one of its row."""
        side = int(self.processor.image_processor.size["height"])
        if image is None:
            size = side, side
        elif isinstance(image, Image.Image):
            size = image.height, image.width
        elif isinstance(image, Path | images.Content):
            size = images.size(self._file(image))
        else:
            size = self._sizes.get(image) or self._sizes.setdefault(
                image, images.size(self._file(image))
            )
        # Only the shape of the tiles is asked for.
        tiles = np.broadcast_to(np.uint8(0), (1, 3, side, side))
        return self._placeholders(tiles, size, alone)

    def picture(self, image: Shown, alone: bool = True) -> Picture:
        """Preprocess an image: a path, absolute or relative to the root, or a PIL image; `alone`:
        it is the only one of its row."""
        if isinstance(image, Image.Image):
            return self._preprocess(images.upright(image), alone)
        if isinstance(image, images.Content):
            return self._preprocess(images.read(image), alone)
        return self._cached(
            str(image) if alone else f"{image} {SEVERAL}",
            lambda: self._preprocess(images.read(self._file(image)), alone),
        )

    def _file(self, image: str | Path | images.Content) -> images.File:
        """A text names an image of a catalog, whose files may be in a pack."""
        if isinstance(image, str):
            return place(self.root, image)
        return self.root / image if isinstance(image, Path) else image

    def blank(self) -> Picture:
        """The black image of a row without one."""
        side = int(self.processor.image_processor.size["height"])
        return self._cached("", lambda: self._preprocess(Image.new("RGB", (side, side)), True))

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
            if len(self._texts) < MOST_KEPT:
                self._texts[text] = known
        return list(known)

    def _preprocess(self, rgb: Image.Image, alone: bool) -> Picture:
        # The processor cuts the only image of a row into tiles, and no image of a row of several.
        if alone and self._cuts_tiles:
            values = cut_tiles(rgb, self.processor.image_processor)
            size = rgb.height, rgb.width
            return Picture(values, size, self._placeholders(values, size, alone))
        row = [rgb] if alone else [rgb, Image.new("RGB", (1, 1))]
        inputs = self.processor.image_processor(
            images=[row], do_rescale=False, do_normalize=False, return_tensors="np"
        )
        values = np.asarray(inputs["pixel_values"][0])
        height, width = (int(v) for v in inputs["image_sizes"][0])
        tokens = self._placeholders(values, (height, width), alone)
        return Picture(values, (height, width), tokens)

    def _placeholders(self, tiles: NDArray[np.uint8], size: tuple[int, int], alone: bool) -> int:
        key = size, tiles.shape[-2:], alone
        known = self._placeholder_counts.get(key)
        if known is None:
            row = {
                "pixel_values": [tiles],
                "image_sizes": [size],
                "batch_num_images": [1 if alone else 2],
            }
            expanded: str = self.processor.replace_image_token(row, 0)
            known = expanded.count(self.processor.image_token)
            if len(self._placeholder_counts) < MOST_KEPT:
                self._placeholder_counts[key] = known
        return known

    def _with_images(
        self, ids: list[int], labels: list[int], shown: Sequence[Shown], name: str
    ) -> Encoded:
        if not self.reads_images:
            return self._with_text(ids, labels, shown, name)
        places = [i for i, t in enumerate(ids) if t == self._image_id]
        if len(places) != len(shown):
            raise InputError(f"{name}: {wrong_images(len(places), len(shown))}")
        pictures = [self.picture(image, alone=len(shown) == 1) for image in shown]
        for at, picture in reversed(list(zip(places, pictures, strict=True))):
            ids[at : at + 1] = [self._image_id] * picture.tokens
            labels[at : at + 1] = [IGNORED] * picture.tokens
        ids, labels = self._shorten(ids, labels, name)
        mask = [1] * len(ids)
        if not pictures:
            pictures = [self.blank()]
            ids = ids + [self._image_id] * pictures[0].tokens
            labels = labels + [IGNORED] * pictures[0].tokens
            mask += [0] * pictures[0].tokens
        return {
            "input_ids": np.array(ids, np.int64),
            "attention_mask": np.array(mask, np.int64),
            "labels": np.array(labels, np.int64),
            "pixel_values": np.concatenate([picture.pixel_values for picture in pictures]),
            "image_sizes": np.array([picture.size for picture in pictures], np.int64),
        }

    def _with_text(
        self, ids: list[int], labels: list[int], shown: Sequence[Shown], name: str
    ) -> Encoded:
        if shown:
            raise InputError(f"{name}: it has an image, and the model reads text alone")
        ids, labels = self._shorten(ids, labels, name)
        return {
            "input_ids": np.array(ids, np.int64),
            "attention_mask": np.ones(len(ids), np.int64),
            "labels": np.array(labels, np.int64),
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


def wrong_images(tokens: int, images: int) -> str:
    """Why a row of `images` images can't have `tokens` image tokens."""
    if not images:
        return f"the text has {IMAGE} but the row has no image"
    wanted = "once for its image" if images == 1 else f"{images} times, once for each image"
    return f"expected {IMAGE} {wanted}, found it {tokens} times"


def collate(rows: Sequence[Encoded], pad_token_id: int) -> Encoded:
    """Join encoded rows: input_ids, attention_mask, labels int64 [B, L], padded on the right;
    pixel_values uint8 [P, 3, H, W], the tiles of all images; image_sizes int64 [N, 2];
    batch_num_images int64 [B], the images of each row."""
    length = max(len(r["input_ids"]) for r in rows)
    fill = {"input_ids": pad_token_id, "attention_mask": 0, "labels": IGNORED}
    out: Encoded = {
        key: np.stack([np.pad(r[key], (0, length - len(r[key])), constant_values=v) for r in rows])
        for key, v in fill.items()
    }
    if "pixel_values" not in rows[0]:
        return out
    for key in ("pixel_values", "image_sizes"):
        out[key] = np.concatenate([r[key] for r in rows])
    out["batch_num_images"] = np.array([len(r["image_sizes"]) for r in rows], np.int64)
    return out
