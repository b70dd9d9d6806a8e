"""torch: what scoring and answering cost (Fig. 7): latency, peak memory, FLOPs, parameters.

FLOPs and parameters are those of `evaluation.efficiency`; the rest is measured on the device at hand.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

KONIQ_SIZE = (768, 1024)
"""Height and width of KonIQ's images."""

QWEN_TOKENS = {"paper": (27, 6), "official": (56, 7)}
"""Tokens of each profile's prompt, without its image, and of its stem, in Qwen's vocabulary."""


def measure_architecture(
    name: str, profile: Profile, size: tuple[int, int] = KONIQ_SIZE, answer_tokens: int = 32
) -> dict[str, Any]:
    """Parameters and FLOPs of the real "0.5b" or "7b", without weights; the shape of `measure`.

    `size` is height and width of the image. Raises InputError for another name or profile, and for
    numbers below 1.
    """
    _check_counts(answer_tokens=answer_tokens, height=size[0], width=size[1])
    if profile.name not in QWEN_TOKENS:
        raise InputError(f"profile {profile.name!r}: its tokens in Qwen's vocabulary are unknown")
    work = Work(size, *QWEN_TOKENS[profile.name], len(profile.words), answer_tokens)
    why = "an architecture without weights has no latency and no memory"
    return {
        "model": name,
        "profile": profile.name,
        **count(architecture(name), work),
        **dict.fromkeys(("device", "dtype", "latency_seconds", "peak_memory_bytes")),
        "reasons": {"latency_seconds": why, "peak_memory_bytes": why},
    }


def measure(
    checkpoint: Checkpoint,
    profile: Profile,
    image: str | Path | Image.Image | None = None,
    *,
    answer_tokens: int = 32,
    repeats: int = 10,
    warmup: int = 2,
) -> dict[str, Any]:
    """Cost of one image on the device where the checkpoint's model is.

    Scoring is one forward up to the level logits; answering is the same question without the stem
    and exactly `answer_tokens` tokens, greedily. Without `image`, noise of KonIQ's size is used.

    Returns model, profile, device, dtype; image: height, width, tiles, tokens; prompt_tokens
    {scoring, answering} with the image's; answer_tokens; parameters {total, tower, projector,
    language_model}; flops {scoring, answering}: {counted, analytic, ratio}; latency_seconds
    {preprocessing, scoring, answering}: {median, p90, repeats}; peak_memory_bytes {scoring,
    answering, of}; reasons {key: why it is null}. Preprocessing is decoding, tiling and tokenising
    on the CPU; it is not in the other two. Memory is the most that torch had allocated on the GPU
    (weights included), or on a CPU the whole process's peak so far.

    Raises InputError for an image that can't be read, a tokenizer that can't tell the level words
    apart, and numbers below 1.
    """
    _check_counts(answer_tokens=answer_tokens, repeats=repeats, warmup=warmup)
    model, processor = checkpoint.model.eval(), checkpoint.processor
    words = level_tokens(processor.tokenizer, profile)
    prompter = Prompter(processor, Path(), profile)
    shown = _noise(KONIQ_SIZE) if image is None else image
    timed = _Timer(model.device, repeats, warmup)
    row, preprocessing = timed(lambda: prompter.score_prompt(shown))
    asked = prompter.prompt(shown, profile.question)
    pad = processor.tokenizer.pad_token_id
    score_batch, ask_batch = (tensors(collate([r], pad), model.device) for r in (row, asked))
    del ask_batch["labels"]
    ask_batch["pixel_values"] = ask_batch["pixel_values"].to(model.dtype)
    with torch.no_grad():
        _, scoring = timed(lambda: logits_at_end(model, score_batch, words))
        peak_scoring = timed.peak_memory
        _, answering = timed(
            lambda: model.generate(
                **ask_batch,
                min_new_tokens=answer_tokens,
                max_new_tokens=answer_tokens,
                do_sample=False,
            )
        )
    image_tokens = int((row["input_ids"] == processor.image_token_id).sum())
    work = Work(
        (int(row["image_sizes"][0]), int(row["image_sizes"][1])),
        len(asked["input_ids"]) - image_tokens,
        len(row["input_ids"]) - len(asked["input_ids"]),
        len(words),
        answer_tokens,
    )
    on_gpu = model.device.type == "cuda"
    return {
        "model": checkpoint.folder,
        "profile": profile.name,
        **count(model.config, work),
        "device": torch.cuda.get_device_name(model.device)
        if on_gpu
        else f"{model.device}, {torch.get_num_threads()} thread(s)",
        "dtype": str(model.dtype).removeprefix("torch."),
        "latency_seconds": {
            "preprocessing": preprocessing,
            "scoring": scoring,
            "answering": answering,
        },
        "peak_memory_bytes": {
            "scoring": peak_scoring,
            "answering": timed.peak_memory,
            "of": "allocated on the GPU" if on_gpu else "the process so far",
        },
        "reasons": {},
    }


class _Timer:
    """Runs work `warmup` times, then `repeats` times with the clock on."""

    def __init__(self, device: torch.device, repeats: int, warmup: int) -> None:
        self.device, self.repeats, self.warmup = device, repeats, warmup
        self.peak_memory = 0

    def __call__(self, work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
        """The last run's result, and seconds {median, p90, repeats}."""
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        seconds = []
        for _ in range(self.warmup + self.repeats):
            began = time.perf_counter()
            result = work()
            if on_gpu:
                torch.cuda.synchronize(self.device)
            seconds.append(time.perf_counter() - began)
        self.peak_memory = (
            torch.cuda.max_memory_allocated(self.device) if on_gpu else _process_peak()
        )
        kept = np.array(seconds[self.warmup :])
        return result, {
            "median": float(np.median(kept)),
            "p90": float(np.quantile(kept, 0.9)),
            "repeats": self.repeats,
        }


def _process_peak() -> int:
    import resource  # not on every system

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes there, KiB elsewhere


def _noise(size: tuple[int, int]) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    return Image.fromarray(values)


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise InputError(f"{name.replace('_', ' ')} is {value}; it must be 1 or more")


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
