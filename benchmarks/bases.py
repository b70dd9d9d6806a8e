"""torch: base checkpoints with random weights: the demo's two, and one of the 0.5B's kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

GRIDS = [[384, 384], [384, 768], [768, 384], [768, 768]]
VOCABULARY = 152_000


def write_tiny(folder: Path, role: str) -> str:
    """The demo's `proxy` or `primary`, without its pre-training. Returns the folder."""
    from qsit_ray.demo import models
    from qsit_ray.demo.pretrain import make_tokenizer
    from qsit_ray.models import load

    tokenizer = make_tokenizer([], 0)
    model = models.make_model(models.DECODERS[role], tokenizer, 0)
    load.save(model, models.processor_of(model, tokenizer), folder)
    return str(folder)


def write_real_shape(folder: Path, vocabulary: int = VOCABULARY) -> str:
    """Tiles of 384 pixels on any-resolution grids, the released vocabulary's size, narrow layers:
    87 million weights with the whole vocabulary. Returns the folder."""
    from qsit_ray.evaluation.studies.random_model import write_random

    return write_random(folder, real_shape(vocabulary), GRIDS)


def real_shape(vocabulary: int = VOCABULARY) -> Any:
    """Its transformers configuration."""
    from transformers import LlavaOnevisionConfig, Qwen2Config, SiglipVisionConfig

    vision = SiglipVisionConfig(
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=3,
        image_size=384,
        patch_size=14,
        vision_use_head=False,
    )
    text = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlavaOnevisionConfig(
        vision_config=vision.to_dict(),
        text_config=text.to_dict(),
        image_grid_pinpoints=GRIDS,
        vision_aspect_ratio="anyres_max_9",
        tie_word_embeddings=True,
    )
