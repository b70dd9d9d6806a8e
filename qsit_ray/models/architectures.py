"""torch: the two real LLaVA-OneVision architectures by their numbers, for what needs no weights."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoModelForImageTextToText,
    LlavaOnevisionConfig,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.initialization import no_init_weights

from qsit_ray.errors import InputError


@dataclass(frozen=True)
class TextModel:
    """Sizes of a Qwen2 decoder; `tied`: the output head is the embedding table."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    intermediate: int
    tied: bool


# The models RELEASED.format("0.5b") and RELEASED.format("7b"); both have the tower below.
RELEASED = "llava-hf/llava-onevision-qwen2-{}-ov-hf"
TEXT_MODELS = {
    "0.5b": TextModel(896, 24, 14, 2, 4864, tied=True),
    "7b": TextModel(3584, 28, 28, 4, 18944, tied=False),
}
VOCABULARY = 152_000
CONTEXT = 32_768
IMAGE_TOKEN, VIDEO_TOKEN = 151_646, 151_647


def architecture(name: str) -> LlavaOnevisionConfig:
    """The configuration of LLaVA-OneVision "0.5b" (0.894 B parameters) or "7b" (8.030 B).

    The tower is SigLIP so400m with the 26 layers that are used, at 384 pixels. Image grids (up to
    2304 x 2304) and anyres_max_9 are the class's own defaults. Raises InputError for another name.
    """
    if name not in TEXT_MODELS:
        raise InputError(f"architecture {name!r} is not known; there are: {', '.join(TEXT_MODELS)}")
    sizes = TEXT_MODELS[name]
    vision = SiglipVisionConfig(
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=26,
        num_attention_heads=16,
        image_size=384,
        patch_size=14,
        vision_use_head=False,
    )
    text = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.intermediate,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.key_value_heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=sizes.tied,
    )
    return LlavaOnevisionConfig(
        vision_config=vision.to_dict(),
        text_config=text.to_dict(),
        image_token_index=IMAGE_TOKEN,
        video_token_index=VIDEO_TOKEN,
        tie_word_embeddings=sizes.tied,
    )


def on_meta(config: Any) -> Any:
    """A LlavaOnevisionForConditionalGeneration of shapes alone, in evaluation mode.

    It holds no numbers, so the 7B takes no memory. Attention is the plain one, written as matrix
    products: fused kernels differ from device to device, and some are unknown to a FLOP counter.
    """
    # There is nothing to draw first weights for, and the 7B's would take ten seconds.
    with torch.device("meta"), no_init_weights():
        model = AutoModelForImageTextToText.from_config(
            copy.deepcopy(config), attn_implementation="eager"
        )
    model.tie_weights()  # which comes with the first weights otherwise
    return model.eval()


def grid(size: tuple[int, int], config: Any) -> tuple[int, int]:
    """Rows and columns of tiles that the image is cut into, the whole image's own tile aside.

    Of the allowed resolutions it is the one that keeps most of the image's pixels, and of those
    the one that adds the fewest.
    """
    height, width = size

    def fit(resolution: tuple[int, int]) -> tuple[int, int]:
        scale = min(resolution[0] / height, resolution[1] / width)
        kept = min(int(height * scale) * int(width * scale), height * width)
        return kept, -resolution[0] * resolution[1]

    best = max((tuple(pinpoint) for pinpoint in config.image_grid_pinpoints), key=fit)
    side = config.vision_config.image_size
    return best[0] // side, best[1] // side


def tiles(size: tuple[int, int], config: Any) -> int:
    """Tiles that the tower sees of one image."""
    rows, columns = grid(size, config)
    return 1 + rows * columns


def tokens(size: tuple[int, int], config: Any) -> int:
    """Tokens of one image: its thumbnail's, and its tiles' without padding and with a newline a
    row, pooled where they are more than the configuration allows."""
    patches = config.vision_config.image_size // config.vision_config.patch_size
    rows, columns = (patches * n for n in grid(size, config))
    height, width = size
    if width / height > columns / rows:
        rows -= (rows - int(round(height * columns / width, 7))) // 2 * 2
    else:
        columns -= (columns - int(round(width * rows / height, 7))) // 2 * 2
    allowed = int(config.vision_aspect_ratio.removeprefix("anyres_max_")) * patches**2
    ratio = math.sqrt(rows * columns / allowed)
    if ratio > 1.1:
        rows, columns = int(rows // ratio), int(columns // ratio)
    return patches**2 + rows * (columns + 1)


def most_tiles(config: Any) -> int:
    """Tiles of the image that takes the most."""
    return max(tiles((height, width), config) for height, width in config.image_grid_pinpoints)
