"""LLaVA-OneVision 0.5B with random weights, as a base checkpoint on disk."""

import torch
from transformers import LlavaOnevisionForConditionalGeneration
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from qsit_ray.demo.pretrain import make_tokenizer
from qsit_ray.models import load
from qsit_ray.models.architectures import architecture


def write(folder, tiles=None):
    """In bf16, with the demo's tokenizer, whose numbers are below its own 152,000."""
    tokenizer = make_tokenizer([], 0)
    config = architecture("0.5b")
    for name in ("image", "video"):
        number = tokenizer.convert_tokens_to_ids(f"<{name}>")
        setattr(config, f"{name}_token_index", number)
        setattr(config, f"{name}_token_id", number)
    config.text_config.pad_token_id = tokenizer.pad_token_id
    config.dtype = torch.bfloat16
    images = LlavaOnevisionImageProcessorPil()
    if tiles:
        images = LlavaOnevisionImageProcessorPil(image_grid_pinpoints=tiles)
        config.image_grid_pinpoints = tiles
    torch.manual_seed(0)
    model = LlavaOnevisionForConditionalGeneration._from_config(config)
    load.save(model, load.make_processor(images, tokenizer, config), folder)
    return str(folder)
