"""torch: checkpoints read and written as ordinary Hugging Face folders, without remote code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoTokenizer,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
)
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.utils import is_flash_attn_2_available

from qsit_ray import artifacts
from qsit_ray.data.encode import END, IMAGE
from qsit_ray.errors import InputError
from qsit_ray.models.tiles import accept_tiles
from qsit_ray.prompts import CHAT_TEMPLATE, PAPER, level_tokens


class ImageTextProcessor(LlavaOnevisionProcessor):
    """LlavaOnevisionProcessor without its video part, which needs torchvision."""

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        if argument_name == "video_processor" and argument is None:
            return None
        return super().check_argument_for_proper_class(argument_name, argument)


@dataclass(frozen=True)
class Checkpoint:
    """A model with its processor, and the folder or Hub name of both. The model takes uint8 tiles,
    as `qsit_ray.data.encode` makes them."""

    model: Any
    processor: Any
    folder: str

    def __post_init__(self) -> None:
        accept_tiles(self.model, self.processor.image_processor)


def attention(gpu: bool, dtype: torch.dtype) -> str:
    """The attention for arithmetic in `dtype`: flash-attn's where its package is installed and a
    GPU computes in bf16, which it needs; elsewhere torch's own."""
    flash = gpu and dtype == torch.bfloat16 and is_flash_attn_2_available()
    return "flash_attention_2" if flash else "sdpa"


def load(folder_or_name: str | Path, dtype: Any = None, attention: str = "sdpa") -> Checkpoint:
    """Load a LLaVA-OneVision checkpoint in evaluation mode, on the CPU.

    `attention` is one of transformers' implementations.
    Only safetensors are read, and no code of the checkpoint is run. Raises InputError naming the
    folder when it is not such a checkpoint, or when its weights are not exactly the model's: one
    that is missing would otherwise be random, without a word.
    """
    name = str(folder_or_name)
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        if config.model_type != "llava_onevision":
            raise InputError(f"its model type is {config.model_type}")
        model, loading = LlavaOnevisionForConditionalGeneration.from_pretrained(
            name,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=dtype,
            attn_implementation=attention,
            ignore_mismatched_sizes=True,  # to name them below
            output_loading_info=True,
        )
        _check_weights(model, loading)
        processor = load_processor(name, config)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{name}: not a loadable LLaVA-OneVision checkpoint: {reason}") from error
    return Checkpoint(model.eval(), processor, name)


def _check_weights(model: Any, loading: Mapping[str, Any]) -> None:
    """Raises ValueError naming weights that are missing, unknown, of another shape or not finite.

    `loading` is what transformers reports of the files.
    """
    wrong = {
        "missing": sorted(loading["missing_keys"]),
        "of another shape": sorted(key[0] for key in loading["mismatched_keys"]),
        "not the model's": sorted(loading["unexpected_keys"]),
        # At ZeRO stage 3 a rank holds its own part only, or nothing.
        "not finite": [n for n, w in model.named_parameters() if not torch.isfinite(w).all()],
    }
    found = [
        f"{len(names)} weights are {kind}, such as {names[0]}"
        for kind, names in wrong.items()
        if names
    ]
    if found:
        raise ValueError("; ".join(found))


def load_processor(name: str | Path, config: Any = None) -> Any:
    """Load the processor alone, to encode rows without the model's weights."""
    name = str(name)
    if config is None:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    # LlavaOnevisionProcessor.from_pretrained needs a video processor, which needs torchvision.
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    images = LlavaOnevisionImageProcessorPil.from_pretrained(name)
    return make_processor(images, tokenizer, config)


def make_processor(images: Any, tokenizer: Any, config: Any) -> Any:
    """The processor of a model configuration, from its image processor and its tokenizer."""
    vision = config.vision_config
    return ImageTextProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        video_processor=None,
        num_image_tokens=(vision.image_size // vision.patch_size) ** 2,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        chat_template=tokenizer.chat_template,
        vision_aspect_ratio=config.vision_aspect_ratio,
    )


def save(
    model: Any, processor: Any, folder: str | Path, state_dict: Mapping[str, Any] | None = None
) -> None:
    """Write model and processor as an ordinary Hugging Face folder (safetensors).

    `state_dict` replaces the model's own weights, where they were gathered from several ranks.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(target, state_dict=state_dict)
    processor.tokenizer.save_pretrained(target)
    processor.image_processor.save_pretrained(target)
    # The chat form of the training rows, regardless of the base model's own.
    (target / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    # Written here because this processor has no video part; where torchvision is installed,
    # LlavaOnevisionProcessor.from_pretrained reads these two files.
    whole = {
        "processor_class": "LlavaOnevisionProcessor",
        "num_image_tokens": processor.num_image_tokens,
        "vision_feature_select_strategy": processor.vision_feature_select_strategy,
        "vision_aspect_ratio": processor.vision_aspect_ratio,
        "image_token": processor.image_token,
        "video_token": processor.video_token,
    }
    images = processor.image_processor
    video = {
        "video_processor_type": "LlavaOnevisionVideoProcessor",
        "processor_class": "LlavaOnevisionProcessor",
        "image_mean": list(images.image_mean),
        "image_std": list(images.image_std),
        "size": {side: int(images.size[side]) for side in ("height", "width")},
    }
    artifacts.write_json(target / "processor_config.json", whole)
    artifacts.write_json(target / "video_preprocessor_config.json", video)


def check_vocabulary(processor: Any, name: str) -> None:
    """Compare a processor with the configuration of the checkpoint `name`.

    Raises InputError naming the checkpoint for a tokenizer that is larger than the embeddings, has
    no image or end-of-turn token or another number for the image token than the model, or can't
    tell the level words apart.
    """
    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    tokenizer = processor.tokenizer
    rows = config.text_config.vocab_size
    if len(tokenizer) > rows:
        raise InputError(
            f"{name}: its tokenizer has {len(tokenizer)} tokens, the model only {rows}; this is "
            "another model's tokenizer"
        )
    for token in (IMAGE, END):
        numbers = tokenizer(token, add_special_tokens=False)["input_ids"]
        if numbers != [tokenizer.convert_tokens_to_ids(token)]:
            raise InputError(f"{name}: its tokenizer has no token {token}")
    image = tokenizer.convert_tokens_to_ids(IMAGE)
    if image != config.image_token_id:
        raise InputError(
            f"{name}: its tokenizer gives {IMAGE} the number {image}, the model expects "
            f"{config.image_token_id}"
        )
    level_tokens(tokenizer, PAPER)
