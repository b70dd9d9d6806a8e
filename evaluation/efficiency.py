"""torch: cost of scoring and answering (Fig. 7): latency, peak memory, FLOPs, parameters.

FLOPs and parameters are counted on a copy of the model without weights; latency and memory are
measured on the model's device.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

from qsit_ray.data.encode import collate
from qsit_ray.errors import InputError
from qsit_ray.models.architectures import architecture, on_meta
from qsit_ray.models.load import Checkpoint
from qsit_ray.models.loss import tensors
from qsit_ray.models.score import Prompter, logits_at_end
from qsit_ray.prompts import Profile, level_tokens

Result = TypeVar("Result")

KONIQ_SIZE = (768, 1024)
"""Height and width of KonIQ's images."""

QWEN_TOKENS = {"paper": (27, 6), "official": (56, 7)}
"""Tokens of each profile's prompt, without its image, and of its stem, in Qwen's vocabulary."""


@dataclass(frozen=True)
class Flops:
    """FLOPs by torch's FlopCounterMode and by `analytic_flops`; ratio = counted / analytic."""

    counted: int
    analytic: int
    ratio: float


@dataclass(frozen=True)
class Latency:
    """Seconds of the timed runs: median and 90th percentile."""

    median: float
    p90: float
    repeats: int


@dataclass(frozen=True)
class PeakMemory:
    """Bytes; `of` states if they are torch's on the GPU, weights included, or the process's."""

    scoring: int
    answering: int
    of: str


@dataclass(frozen=True)
class Efficiency:
    """Cost of one image.

    `image`: height, width, tiles, tokens. `prompt_tokens`, with the image's, and `flops`: of
    scoring and answering. `parameters`: total, tower, projector, language_model. `latency_seconds`:
    of preprocessing (decoding, tiling and tokenising on the CPU), scoring and answering, which
    exclude preprocessing. `reasons`: why a value is None.
    """

    model: str
    profile: str
    image: dict[str, int]
    prompt_tokens: dict[str, int]
    answer_tokens: int
    parameters: dict[str, int]
    flops: dict[str, Flops]
    device: str | None = None
    dtype: str | None = None
    latency_seconds: dict[str, Latency] | None = None
    peak_memory_bytes: PeakMemory | None = None
    reasons: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def measure_architecture(
    name: str, profile: Profile, size: tuple[int, int] = KONIQ_SIZE, answer_tokens: int = 32
) -> Efficiency:
    """Parameters and FLOPs of the real "0.5b" or "7b", without weights.

    `size` is height and width of the image. Raises InputError for another name or profile, and for
    numbers below 1.
    """
    _check_counts(answer_tokens=answer_tokens, height=size[0], width=size[1])
    if profile.name not in QWEN_TOKENS:
        raise InputError(f"profile {profile.name!r}: its tokens in Qwen's vocabulary are unknown")
    tokens = QWEN_TOKENS[profile.name]
    return count(name, profile, architecture(name), size, tokens, answer_tokens)


def measure(
    checkpoint: Checkpoint,
    profile: Profile,
    image: str | Path | Image.Image | None = None,
    *,
    answer_tokens: int = 32,
    repeats: int = 10,
    warmup: int = 2,
) -> Efficiency:
    """Cost of one image on the device of the checkpoint's model; without `image`, of noise in
    KonIQ's size.

    Scoring is one forward pass up to the level logits; answering is the same question without the
    stem and exactly `answer_tokens` tokens, greedily. Peak memory on a CPU is the whole process's
    so far.

    Raises InputError for an image that can't be read, a tokenizer that can't distinguish the level
    words, and numbers below 1.
    """
    _check_counts(answer_tokens=answer_tokens, repeats=repeats, warmup=warmup)
    model, processor = checkpoint.model.eval(), checkpoint.processor
    words = level_tokens(processor.tokenizer, profile)
    prompter = Prompter(processor, Path(), profile)
    noise = np.random.default_rng(0).integers(0, 256, (*KONIQ_SIZE, 3), np.uint8)
    shown = Image.fromarray(noise) if image is None else image
    timed = partial(_timed, device=model.device, repeats=repeats, warmup=warmup)
    row, preprocessing, _ = timed(lambda: prompter.score_prompt(shown))
    asked = prompter.prompt(shown, profile.question)
    pad = processor.tokenizer.pad_token_id
    score_batch, ask_batch = (tensors(collate([r], pad), model.device) for r in (row, asked))
    del ask_batch["labels"]
    exactly = {"min_new_tokens": answer_tokens, "max_new_tokens": answer_tokens}
    with torch.no_grad():
        _, scoring, scoring_peak = timed(lambda: logits_at_end(model, score_batch, words))
        _, answering, answering_peak = timed(
            lambda: model.generate(**ask_batch, **exactly, do_sample=False)
        )
    image_tokens = int((row["input_ids"] == processor.image_token_id).sum())
    height, width = map(int, row["image_sizes"][0])
    prompt = len(asked["input_ids"])
    tokens = (prompt - image_tokens, len(row["input_ids"]) - prompt)
    device, of = f"{model.device}, {torch.get_num_threads()} thread(s)", "the process so far"
    if model.device.type == "cuda":
        device, of = torch.cuda.get_device_name(model.device), "allocated on the GPU"
    return replace(
        count(checkpoint.folder, profile, model.config, (height, width), tokens, answer_tokens),
        device=device,
        dtype=str(model.dtype).removeprefix("torch."),
        latency_seconds={
            "preprocessing": preprocessing,
            "scoring": scoring,
            "answering": answering,
        },
        peak_memory_bytes=PeakMemory(scoring_peak, answering_peak, of),
        reasons={},
    )


def _timed(
    work: Callable[[], Result], device: torch.device, repeats: int, warmup: int
) -> tuple[Result, Latency, int]:
    """The last run's result, the seconds, and the peak memory in bytes; warm-up runs come first."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(warmup + repeats):
        began = time.perf_counter()
        result = work()
        if on_gpu:
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else _process_peak()
    median, p90 = np.quantile(seconds[warmup:], [0.5, 0.9]).tolist()
    return result, Latency(median, p90, repeats), peak


def _process_peak() -> int:
    import resource  # not on every system

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes there, KiB elsewhere


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise InputError(f"{name.replace('_', ' ')} is {value}; it must be 1 or more")


@torch.no_grad()
def count(
    name: str,
    profile: Profile,
    config: Any,
    size: tuple[int, int],
    tokens: tuple[int, int],
    answer_tokens: int,
) -> Efficiency:
    """Parameters and FLOPs of a LlavaOnevisionConfig's model for one image, without its weights.

    `size`: height and width in pixels. `tokens`: of the prompt without image and stem, and of the
    stem. A model without weights can't find the image tokens in a prompt, so the tower with the
    projector, the decoder and the head run one after another, as in its forward pass.
    """
    model, side = on_meta(config), config.vision_config.image_size
    tiles = image_size_to_num_patches(size, config.image_grid_pinpoints, side)
    pixels = torch.empty(1, tiles, 3, side, side, device="meta")
    with FlopCounterMode(display=False) as counter:
        features = model.model.get_image_features(pixels, torch.tensor([size]))
    tower = counter.get_total_flops()
    image_tokens = int(features.pooler_output[0].shape[0])
    asked = image_tokens + tokens[0]
    scored = asked + tokens[1]
    # The whole head runs once; its rows of the levels are multiplied once more in float64.
    level_logits = 2 * config.text_config.hidden_size * len(profile.words)
    flops = {
        "scoring": (
            tower + _decoder_flops(model, scored)[0] + level_logits,
            analytic_flops(config, tiles, scored, 1) + level_logits,
        ),
        "answering": (
            tower + _answer_flops(model, asked, answer_tokens),
            analytic_flops(config, tiles, asked, answer_tokens),
        ),
    }
    why = "an architecture without weights has no latency and no memory"
    return Efficiency(
        name,
        profile.name,
        {"height": size[0], "width": size[1], "tiles": tiles, "tokens": image_tokens},
        {"scoring": scored, "answering": asked},
        answer_tokens,
        parameters(model),
        {work: Flops(found, by_hand, found / by_hand) for work, (found, by_hand) in flops.items()},
        reasons={"latency_seconds": why, "peak_memory_bytes": why},
    )


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


def _answer_flops(model: Any, prompt_tokens: int, answer_tokens: int) -> int:
    """FLOPs of the decoder and the head for a prompt and an answer."""
    flops, past = _decoder_flops(model, prompt_tokens)
    steps = answer_tokens - 1
    if steps:
        # A step's FLOPs grow by the same amount each time, so the first and the last give the sum.
        first, past = _decoder_flops(model, 1, past)
        if steps > 2:
            _, past = _decoder_flops(model, steps - 2, past)
        last = _decoder_flops(model, 1, past)[0] if steps > 1 else first
        flops += steps * (first + last) // 2
    return flops


def _decoder_flops(model: Any, tokens: int, past: Any = None) -> tuple[int, Any]:
    """FLOPs of the decoder for `tokens` after `past`, and of the head for the last; and the new
    past."""
    hidden = torch.empty(1, tokens, model.config.text_config.hidden_size, device="meta")
    with FlopCounterMode(display=False) as counter:
        out = model.model.language_model(inputs_embeds=hidden, past_key_values=past, use_cache=True)
        model.lm_head(out.last_hidden_state[:, -1])
    return counter.get_total_flops(), out.past_key_values
