"""A small checkpoint of the 7B's kind: an untied head, matrices that ZeRO-3 really partitions.

DeepSpeed keeps every parameter under `stage3_param_persistence_threshold` (1e5 numbers) whole on
each rank, so the demo's models never exercise gathering and releasing. Here the head, the embedding
and the decoder's wide layers are larger. The tower sees 384-pixel tiles on any-resolution grids.
"""

import torch
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from qsit_ray.demo.pretrain import make_tokenizer
from qsit_ray.models import load

GRIDS = [[384, 384], [384, 768], [768, 384], [768, 768]]


def write(folder):
    """About 1.6 M weights; 1,485 tokens for a square image."""
    tokenizer = make_tokenizer([], 0)
    ids = {name: tokenizer.convert_tokens_to_ids(f"<{name}>") for name in ("image", "video")}
    vision = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=384,
        patch_size=14,
        vision_use_head=False,
    )
    text = Qwen2Config(
        vocab_size=4096,
        hidden_size=128,
        intermediate_size=896,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = LlavaOnevisionConfig(
        vision_config=vision.to_dict(),
        text_config=text.to_dict(),
        image_token_index=ids["image"],
        video_token_index=ids["video"],
        image_grid_pinpoints=GRIDS,
        vision_aspect_ratio="anyres_max_9",
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = LlavaOnevisionForConditionalGeneration(config)
    images = LlavaOnevisionImageProcessorPil(
        size={"height": 384, "width": 384}, image_grid_pinpoints=GRIDS
    )
    load.save(model, load.make_processor(images, tokenizer, config), folder)
    return str(folder)
