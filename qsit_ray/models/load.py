"""torch: checkpoints read and written as ordinary Hugging Face folders, without remote code."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, LlavaOnevisionProcessor
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.utils import is_flash_attn_2_available

from qsit_ray import artifacts
from qsit_ray.data.encode import END, IMAGE
from qsit_ray.errors import InputError
from qsit_ray.models.architectures import has_vision
from qsit_ray.models.hub import folder_of
from qsit_ray.models.tiles import accept_tiles
from qsit_ray.models.weights import check_loaded, check_weights, model_class, read_config
from qsit_ray.prompts import CHAT_TEMPLATE, PAPER, Profile, level_tokens


class ImageTextProcessor(LlavaOnevisionProcessor):
    """LlavaOnevisionProcessor without its video part, which needs torchvision."""

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        if argument_name == "video_processor" and argument is None:
            return None
        return super().check_argument_for_proper_class(argument_name, argument)


@dataclass(frozen=True)
class TextProcessor:
    """The processor of a model that reads text alone."""

    tokenizer: Any
    image_processor: None = None
    image_token_id: None = None


@dataclass(frozen=True)
class Checkpoint:
    """A model with its processor, and the folder or Hub name of both. A model that reads images
    takes uint8 tiles, as `qsit_ray.data.encode` makes them."""

    model: Any
    processor: Any
    folder: str

    def __post_init__(self) -> None:
        if self.processor.image_processor is not None:
            accept_tiles(self.model, self.processor.image_processor)


def attention(gpu: bool, dtype: torch.dtype) -> str:
    """The attention for arithmetic in `dtype`: flash-attn's where its package is installed and a
    GPU computes in bf16, which it needs; elsewhere torch's own."""
    flash = gpu and dtype == torch.bfloat16 and is_flash_attn_2_available()
    return "flash_attention_2" if flash else "sdpa"


def load(
    folder_or_name: str | Path,
    dtype: Any = None,
    attention: str = "sdpa",
    within: AbstractContextManager[object] | None = None,
) -> Checkpoint:
    """Load a checkpoint, LLaVA-OneVision's or a language model's, in evaluation mode, on the CPU.

    `attention` is one of transformers' implementations. Only safetensors are read, and no code of
    the checkpoint is run. The weights are read within the context `within`, such as one in which
    transformers partitions them. Raises InputError naming the folder when it is not such a
    checkpoint, or when its weights are not exactly the model's.
    """
    folder = folder_of(str(folder_or_name))
    config = read_config(folder)
    check_weights(folder, config)
    processor = load_processor(folder, config)
    with _naming(folder, "its weights can't be loaded"), within or nullcontext():
        model = model_class(config).from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=dtype,
            attn_implementation=attention,
        )
    check_loaded(folder, model)
    return Checkpoint(model.eval(), processor, str(folder))


def load_processor(name: str | Path, config: Any = None) -> Any:
    """Load the processor alone, to encode rows without the model's weights.

    Raises InputError naming the folder when it can't be loaded.
    """
    folder = folder_of(str(name))
    if config is None:
        config = read_config(folder)
    # LlavaOnevisionProcessor.from_pretrained needs a video processor, which needs torchvision.
    with _naming(folder, "its tokenizer can't be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not has_vision(config):
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        return TextProcessor(tokenizer)
    with _naming(folder, "its image processor can't be loaded"):
        images = LlavaOnevisionImageProcessorPil.from_pretrained(folder)
    return make_processor(images, tokenizer, config)


@contextmanager
def _naming(folder: Path, what: str) -> Iterator[None]:
    """Raises InputError with the folder for what libraries raise about its files. An OSError of the
    machine passes: another try may succeed."""
    try:
        yield
    except OSError as error:
        if error.errno not in (None, errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            raise
        raise InputError(f"{folder}: {what}: {' '.join(str(error).split())}") from error
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise InputError(f"{folder}: {what}: {' '.join(str(error).split())}") from error


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
    # The chat form of the training rows, regardless of the base model's own.
    (target / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    if processor.image_processor is None:
        return
    processor.image_processor.save_pretrained(target)
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


def check_vocabulary(processor: Any, name: str, profile: Profile | None = PAPER) -> None:
    """Compare a processor with the configuration of the checkpoint `name`.

    Raises InputError naming the checkpoint for a tokenizer that is larger than the embeddings, has
    no image or end-of-turn token or another number for the image token than the model, or can't
    tell the level words of the `profile` apart. Of a model of text alone only its size and the end
    of turns count.
    """
    config = read_config(folder_of(name))
    tokenizer = processor.tokenizer
    rows = config.get_text_config().vocab_size
    if len(tokenizer) > rows:
        raise InputError(
            f"{name}: its tokenizer has {len(tokenizer)} tokens, the model only {rows}; this is "
            "another model's tokenizer"
        )
    for token in (IMAGE, END) if has_vision(config) else (END,):
        numbers = tokenizer(token, add_special_tokens=False)["input_ids"]
        if numbers != [tokenizer.convert_tokens_to_ids(token)]:
            raise InputError(f"{name}: its tokenizer has no token {token}")
    if not has_vision(config):
        return
    image = tokenizer.convert_tokens_to_ids(IMAGE)
    if image != config.image_token_id:
        raise InputError(
            f"{name}: its tokenizer gives {IMAGE} the number {image}, the model expects "
            f"{config.image_token_id}"
        )
    if profile is not None:
        level_tokens(tokenizer, profile)
