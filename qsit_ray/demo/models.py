"""torch: two small LLaVA-OneVision models of the real transformers classes, and their tokenizer.

Crops are 64 x 64 pixels, tiles 32 x 32, patches 8 x 8: a crop becomes its thumbnail and four tiles,
and anyres_max_1 pools the tiles' 64 tokens to 16. With a newline token a row these are 16 + 16 + 4
= 36 image tokens, packed by the same code as the 0.5B's and the 7B's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    GenerationConfig,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from qsit_ray.models.load import make_processor
from qsit_ray.prompts import CHAT_TEMPLATE

TILE, PATCH, SIDE = 32, 8, 64
PIXEL_MEAN = (0.5, 0.5, 0.5)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
VOCABULARY = 768

# Qwen2's own rule for the ends of tokens.
_QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


TOWER = SiglipVisionConfig(
    hidden_size=96,
    intermediate_size=288,
    num_hidden_layers=3,
    num_attention_heads=3,
    image_size=TILE,
    patch_size=PATCH,
    vision_use_head=False,
)
"""Proxy and primary share the tower, as the real 0.5B and 7B share theirs."""

DECODERS = {
    "proxy": {
        "hidden_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "intermediate_size": 256,
    },
    "primary": {
        "hidden_size": 192,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "intermediate_size": 640,
    },
}


def make_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer of 768 tokens with Qwen's special tokens and chat form.

    Byte-level, it encodes every text; words of `texts` become few tokens.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<image>", "<video>"],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def decoder_config(decoder: Mapping[str, int], tokenizer: Any) -> Qwen2Config:
    """Return the configuration of a tiny Qwen2 decoder of these sizes, by Qwen2Config's names."""
    return Qwen2Config(
        vocab_size=VOCABULARY,
        **decoder,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    )


def make_model(decoder: Mapping[str, int], tokenizer: Any, seed: int) -> Any:
    """Return a LlavaOnevisionForConditionalGeneration with random weights, in evaluation mode.

    `decoder`: sizes of a Qwen2 decoder, by Qwen2Config's names.
    """
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    text = decoder_config(decoder, tokenizer)
    config = LlavaOnevisionConfig(
        vision_config=TOWER.to_dict(),
        text_config=text.to_dict(),
        image_token_index=ids["<image>"],
        video_token_index=ids["<video>"],
        image_grid_pinpoints=[[SIDE, SIDE]],
        vision_aspect_ratio="anyres_max_1",
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = LlavaOnevisionForConditionalGeneration(config)
    # transformers draws every matrix with a standard deviation of 0.02, which suits thousands of
    # columns. With about a hundred, the first hundreds of steps would only grow the weights.
    for name, weight in model.named_parameters():
        if weight.dim() == 2 and "vision_tower" not in name:
            spread = 0.1 if "embed_tokens" in name else weight.shape[1] ** -0.5
            nn.init.normal_(weight, std=spread)
    model.generation_config = GenerationConfig(
        eos_token_id=ids["<|im_end|>"], pad_token_id=ids["<|endoftext|>"], max_new_tokens=64
    )
    return model.eval()


def processor_of(model: Any, tokenizer: Any) -> Any:
    """Return the LlavaOnevisionProcessor of a tiny model."""
    images = LlavaOnevisionImageProcessorPil(
        size={"height": TILE, "width": TILE},
        image_grid_pinpoints=[[SIDE, SIDE]],
        image_mean=list(PIXEL_MEAN),
        image_std=list(PIXEL_MEAN),
    )
    return make_processor(images, tokenizer, model.config)
