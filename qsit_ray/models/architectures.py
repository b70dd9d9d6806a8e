"""torch: the two real LLaVA-OneVision architectures without weights, and tokens of their images."""

from __future__ import annotations

import copy
import math

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    LlavaOnevisionConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.initialization import no_init_weights
from transformers.models.llava_onevision.modeling_llava_onevision import (
    get_anyres_image_grid_shape,
    image_size_to_num_patches,
    unpad_image,
)

from qsit_ray.errors import InputError


def _qwen2(
    hidden: int, layers: int, heads: int, key_value_heads: int, intermediate: int, tied: bool
) -> Qwen2Config:
    """A Qwen2 decoder; `tied`: the output head is the embedding table."""
    return Qwen2Config(
        vocab_size=152_000,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        max_position_embeddings=32_768,
        tie_word_embeddings=tied,
    )


# The released models, by RELEASED.format("0.5b") and RELEASED.format("7b"); one tower for both.
RELEASED = "llava-hf/llava-onevision-qwen2-{}-ov-hf"
TEXT_MODELS = {
    "0.5b": _qwen2(896, 24, 14, 2, 4864, tied=True),
    "7b": _qwen2(3584, 28, 28, 4, 18944, tied=False),
}
IMAGE_TOKEN, VIDEO_TOKEN = 151_646, 151_647


def architecture(name: str) -> LlavaOnevisionConfig:
    """The configuration of LLaVA-OneVision "0.5b" (0.894 B parameters) or "7b" (8.030 B).

    The tower is SigLIP so400m with the 26 layers that are used, at 384 pixels. Image grids (up to
    2304 x 2304) and anyres_max_9 are the class's own defaults. Raises InputError for another name.
    """
    if name not in TEXT_MODELS:
        raise InputError(
            f"architecture {name!r} is not known; expected one of: {', '.join(TEXT_MODELS)}"
        )
    vision = SiglipVisionConfig(
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=26,
        num_attention_heads=16,
        image_size=384,
        patch_size=14,
        vision_use_head=False,
    )
    text = TEXT_MODELS[name]
    return LlavaOnevisionConfig(
        vision_config=vision.to_dict(),
        text_config=text.to_dict(),
        image_token_index=IMAGE_TOKEN,
        video_token_index=VIDEO_TOKEN,
        tie_word_embeddings=text.tie_word_embeddings,
    )


def has_vision(config: PretrainedConfig) -> bool:
    """Whether the model of this configuration reads images, or text alone."""
    return isinstance(config, LlavaOnevisionConfig)


def on_meta(config: PretrainedConfig) -> PreTrainedModel:
    """The model of a configuration on the meta device, in evaluation mode.

    It has shapes and no numbers, so the 7B takes no memory. Attention is written as plain matrix
    products: fused kernels differ from device to device, and a FLOP counter misses some.
    """
    # Weights on the meta device need no initialisation; the 7B's would take ten seconds.
    with torch.device("meta"), no_init_weights():
        kind = AutoModelForImageTextToText if has_vision(config) else AutoModelForCausalLM
        model = kind.from_config(copy.deepcopy(config), attn_implementation="eager")
    model.tie_weights()  # otherwise done by the initialisation
    return model.eval()


def image_tokens(size: tuple[int, int], config: PretrainedConfig) -> int:
    """Tokens of a row's only image, of (height, width): its thumbnail's, and its tiles' without
    padding and with a newline for each line of patches, pooled where they are more than the
    configuration allows. 0 of a model of text alone."""
    if not has_vision(config):
        return 0
    side = config.vision_config.image_size
    patches = side // config.vision_config.patch_size
    grid = get_anyres_image_grid_shape(size, config.image_grid_pinpoints, side)
    tiles = torch.empty(1, *(patches * number for number in grid), device="meta")
    _, rows, columns = unpad_image(tiles, size).shape
    # As the model's pack_image_features, which takes no tensor without numbers.
    allowed = int(config.vision_aspect_ratio.removeprefix("anyres_max_")) * patches**2
    ratio = math.sqrt(rows * columns / allowed)
    if ratio > 1.1:
        rows, columns = int(rows // ratio), int(columns // ratio)
    return patches**2 + rows * (columns + 1)


def tokens_of_several(config: PretrainedConfig) -> int:
    """Tokens of each image of a row with several: one tile's and a newline."""
    if not has_vision(config):
        return 0
    vision = config.vision_config
    return (vision.image_size // vision.patch_size) ** 2 + 1


def image_tiles(size: tuple[int, int], config: PretrainedConfig) -> int:
    """Tiles of a row's only image, of (height, width), its thumbnail included."""
    if not has_vision(config):
        return 0
    side = config.vision_config.image_size
    return int(image_size_to_num_patches(size, config.image_grid_pinpoints, side))


def most_tiles(config: PretrainedConfig) -> int:
    """The largest number of tiles of one image, its thumbnail included."""
    if not has_vision(config):
        return 0
    sizes, side = config.image_grid_pinpoints, config.vision_config.image_size
    return max(image_size_to_num_patches(size, sizes, side) for size in sizes)
