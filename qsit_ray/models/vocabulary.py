"""torch: whether a checkpoint's tokenizer is the one that its model was made with."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig

from qsit_ray.data.encode import END, IMAGE
from qsit_ray.errors import InputError
from qsit_ray.models.profiles import PAPER, level_tokens


def check_vocabulary(processor: Any, name: str) -> None:
    """Compare a processor with the configuration of the checkpoint `name`.

    Raises InputError naming the checkpoint: a tokenizer larger than the embeddings, without the
    image or the end-of-turn token, with another number for the image token than the model looks
    for, or one that can't tell the level words apart.
    """
    config, tokenizer = (
        AutoConfig.from_pretrained(name, trust_remote_code=False),
        (processor.tokenizer),
    )
    rows = config.text_config.vocab_size
    if len(tokenizer) > rows:
        raise InputError(
            f"{name}: its tokenizer knows {len(tokenizer)} tokens, the model only {rows}; this is "
            "another model's tokenizer"
        )
    for token in (IMAGE, END):
        if tokenizer(token, add_special_tokens=False)["input_ids"] != [
            tokenizer.convert_tokens_to_ids(token)
        ]:
            raise InputError(f"{name}: its tokenizer has no token {token}")
    image = tokenizer.convert_tokens_to_ids(IMAGE)
    if image != config.image_token_id:
        raise InputError(
            f"{name}: its tokenizer gives {IMAGE} the number {image}, the model expects "
            f"{config.image_token_id}"
        )
    level_tokens(tokenizer, PAPER)
