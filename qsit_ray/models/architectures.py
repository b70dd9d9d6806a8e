"""torch: the two real LLaVA-OneVision architectures by their numbers, for what needs no weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
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


def described(name: str) -> Any:
    """The configuration of a model that training may start from, without its weights or a hub.

    `name`: one of the released models, one of the demo's, or a folder with a config.json. Raises
    InputError naming it when it is none of these.
    """
    for size in TEXT_MODELS:
        if name == RELEASED.format(size):
            return architecture(size)
    if name.startswith("demo/"):
        from qsit_ray.models import tiny
        from qsit_ray.models.pretrain import make_tokenizer

        decoder = tiny.DECODERS[name.removeprefix("demo/")]
        return tiny.make_model(decoder, make_tokenizer([], seed=0), seed=0).config
    if not (Path(name) / "config.json").is_file():
        known = ", ".join(RELEASED.format(size) for size in TEXT_MODELS)
        raise InputError(f"{name}: no folder with a config.json, and none of {known}")
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{name}: its config.json can't be read: {error}") from None
    if config.model_type != "llava_onevision":
        raise InputError(f"{name}: its model type is {config.model_type}; expected llava_onevision")
    return config


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
