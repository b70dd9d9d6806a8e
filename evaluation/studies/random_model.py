"""torch: a released architecture with random weights, as a base checkpoint on disk."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from qsit_ray.demo.pretrain import make_tokenizer
from qsit_ray.models import load


def write_random(
    folder: Path, config: LlavaOnevisionConfig, grids: list[list[int]] | None = None
) -> str:
    """Write it in bf16, with the demo's tokenizer, whose numbers are below any real vocabulary's.

    `grids`: other image grids than the class's own. Returns the folder.
    """
    tokenizer = make_tokenizer([], 0)
    for name in ("image", "video"):
        number = tokenizer.convert_tokens_to_ids(f"<{name}>")
        setattr(config, f"{name}_token_index", number)
        setattr(config, f"{name}_token_id", number)
    config.text_config.pad_token_id = tokenizer.pad_token_id
    config.dtype = torch.bfloat16
    images = LlavaOnevisionImageProcessorPil()
    if grids:
        images = LlavaOnevisionImageProcessorPil(image_grid_pinpoints=grids)
        config.image_grid_pinpoints = grids
    torch.manual_seed(0)
    # Billions of random numbers take a CPU minutes.
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlavaOnevisionForConditionalGeneration._from_config(config)
    load.save(model, load.make_processor(images, tokenizer, config), folder)
    return str(folder)
