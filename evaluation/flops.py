"""torch: FLOPs and parameters of a LLaVA-OneVision configuration, counted and worked out by hand.

FLOPs are counted by torch's FlopCounterMode on a copy of the model without weights, so that the
figure depends on the architecture and the number of tokens alone, not on a device's fused kernels,
which the counter doesn't all know. Beside it stands the figure of the arithmetic done by hand. Both
count a multiply-add as two, and attention over the whole square of positions, though half of it is
masked; neither counts norms, activations or softmaxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

from qsit_ray.models.architectures import on_meta


@dataclass(frozen=True)
class Work:
    """What the model has to do for one image.

    `size`: height and width in pixels. `text_tokens`: of the prompt without image and stem.
    `answer_tokens`: how many are generated.
    """

    size: tuple[int, int]
    text_tokens: int
    stem_tokens: int
    levels: int
    answer_tokens: int


def count(config: Any, work: Work) -> dict[str, Any]:
    """Parameters and FLOPs of a LlavaOnevisionConfig for one image: the keys image, prompt_tokens,
    answer_tokens, parameters and flops of `evaluation.efficiency.measure`."""
    model = on_meta(config)
    side = config.vision_config.image_size
    tiles = image_size_to_num_patches(work.size, config.image_grid_pinpoints, side)
    scoring, answering, image_tokens = _counted(model, work, tiles)
    asked = image_tokens + work.text_tokens
    by_hand = {
        "scoring": analytic_flops(config, tiles, asked + work.stem_tokens)
        + 2 * config.text_config.hidden_size * work.levels,
        "answering": analytic_flops(config, tiles, asked, work.answer_tokens),
    }
    return {
        "image": {
            "height": work.size[0],
            "width": work.size[1],
            "tiles": tiles,
            "tokens": image_tokens,
        },
        "prompt_tokens": {"scoring": asked + work.stem_tokens, "answering": asked},
        "answer_tokens": work.answer_tokens,
        "parameters": parameters(model),
        "flops": {
            name: {
                "counted": counted,
                "analytic": by_hand[name],
                "ratio": counted / by_hand[name],
            }
            for name, counted in (("scoring", scoring), ("answering", answering))
        },
    }


def parameters(model: Any) -> dict[str, int]:
    """Weights of each part of a LlavaOnevisionForConditionalGeneration; a tied head counts once.

    The embedding of an image's row ends is in projector, the output head in language_model.
    """
    sizes = {"tower": 0, "projector": 0, "language_model": 0}
    for name, weight in model.named_parameters():
        if ".vision_tower." in name:
            sizes["tower"] += weight.numel()
        elif "projector" in name or "image_newline" in name:
            sizes["projector"] += weight.numel()
        else:
            sizes["language_model"] += weight.numel()
    return {"total": sum(sizes.values()), **sizes}


def analytic_flops(config: Any, tiles: int, prompt_tokens: int, answer_tokens: int = 0) -> int:
    """FLOPs by hand: 2 x weights x tokens, and 4 x width x queries x keys for each attention.

    `prompt_tokens` includes the image's. Without `answer_tokens` no output head runs. With it, the
    prefill gives the first answer token and each further one is a step of one token, the head
    running once for each.
    """
    vision, text = config.vision_config, config.text_config
    d, m = vision.hidden_size, vision.intermediate_size
    patches = (vision.image_size // vision.patch_size) ** 2
    weights = 3 * vision.patch_size**2 * d + vision.num_hidden_layers * (4 * d * d + 2 * d * m)
    attention = vision.num_hidden_layers * 4 * d * patches
    tower = tiles * patches * (2 * weights + attention)

    h = text.hidden_size
    # The projector sees every tile's patches; pooling to the image tokens comes after it.
    projector = 2 * (d * h + h * h) * tiles * patches

    head_size = getattr(text, "head_dim", None) or h // text.num_attention_heads
    queries, keys = (n * head_size for n in (text.num_attention_heads, text.num_key_value_heads))
    layer = 2 * h * queries + 2 * h * keys + 3 * h * text.intermediate_size
    steps = max(answer_tokens - 1, 0)
    tokens = prompt_tokens + steps
    # Query times key positions: the prefill's square, then a growing row for each step.
    pairs = prompt_tokens**2 + steps * prompt_tokens + steps * (steps + 1) // 2
    decoder = text.num_hidden_layers * (2 * layer * tokens + 4 * queries * pairs)
    head = 2 * h * text.vocab_size * answer_tokens
    return tower + projector + decoder + head


@torch.no_grad()
def _counted(model: Any, work: Work, tiles: int) -> tuple[int, int, int]:
    """FLOPs of scoring and of answering by FlopCounterMode, and the image's tokens.

    A model without weights can't find the image tokens in a prompt, so tower with projector, the
    decoder and the head are run one after another, as its forward does.
    """
    side = model.config.vision_config.image_size
    pixels = torch.empty(1, tiles, 3, side, side, device="meta")
    with FlopCounterMode(display=False) as counter:
        features = model.model.get_image_features(pixels, torch.tensor([work.size]))
    image = counter.get_total_flops()
    image_tokens = int(features.pooler_output[0].shape[0])
    decoder, head = model.model.language_model, model.lm_head

    def run(tokens: int, past: Any = None, rows: int | None = None) -> tuple[int, Any]:
        hidden = torch.empty(1, tokens, model.config.text_config.hidden_size, device="meta")
        with FlopCounterMode(display=False) as counter:
            out = decoder(inputs_embeds=hidden, past_key_values=past, use_cache=True)
            last = out.last_hidden_state[:, -1]
            _ = head(last) if rows is None else last @ head.weight[:rows].T
        return counter.get_total_flops(), out.past_key_values

    asked = image_tokens + work.text_tokens
    scoring = image + run(asked + work.stem_tokens, rows=work.levels)[0]
    prefill, past = run(asked)
    answering = image + prefill
    steps = work.answer_tokens - 1
    if steps:
        # A step's FLOPs grow by the same amount each time, so the first and the last give the sum.
        first, past = run(1, past)
        if steps > 2:
            _, past = run(steps - 2, past)
        last = run(1, past)[0] if steps > 1 else first
        answering += steps * (first + last) // 2
    return scoring, answering, image_tokens
