"""torch: pre-training of the two tiny models: vision tower, tokenizer and alignment.

First the vision tower learns distortion, strength and place on crops of training photographs. Then
each model is aligned: projector and decoder learn short captions, whose words the catalog does not
use. Neither the scoring question nor a multiple choice occurs here: the mixture teaches both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast, SiglipVisionModel

from qsit_ray import artifacts
from qsit_ray.config.config import Pretraining
from qsit_ray.data.encode import Encoder, collate
from qsit_ray.demo import models, photographs, questions, rows
from qsit_ray.levels import LEVELS
from qsit_ray.models.load import save
from qsit_ray.models.loss import answer_loss, tensors
from qsit_ray.models.tiles import accept_tiles
from qsit_ray.prompts import LEVEL_STEM, SCORING_QUESTION, multiple_choice_prompt
from qsit_ray.schedule import learning_rate

Report = Callable[[str, int, int], None]
KINDS = (photographs.PRISTINE, *photographs.DISTORTIONS)

# The words of captions, on purpose not those of the catalog's questions.
_AMOUNT = {"slight": "a bit", "moderate": "rather", "severe": "very"}

SEED = 0
_TOWER_RATE = 1.5e-3
_ALIGNMENT_RATE = {"proxy": 3e-3, "primary": 2e-3}


@dataclass(frozen=True)
class _Pool:
    """Drawn crops."""

    samples: list[photographs.Sample]
    pixels: np.ndarray  # uint8 [n, 64, 64, 3]
    quality: np.ndarray  # float32 [n], pseudo-MOS 0..100

    def first(self, count: int) -> _Pool:
        return _Pool(self.samples[:count], self.pixels[:count], self.quality[:count])


def pretrain(
    cache: Path, settings: Pretraining, report: Report, workers: int = 2, threads: int = 2
) -> None:
    """Write `cache`/tower, `cache`/proxy and `cache`/primary; folders that exist are kept.

    Each folder is written atomically, so a killed pre-training resumes with the stage it was in.
    Only crops of training photographs are used. The same settings and `threads` give the same
    weights; `workers` processes draw the crops.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        pool = None
        if not (cache / "tower").is_dir():
            pool = _draw(settings.crops, report, workers)
            with artifacts.atomic(cache / "tower") as folder:
                folder.mkdir()
                _train_tower(pool, settings, report, folder)
        missing = [name for name in models.DECODERS if not (cache / name).is_dir()]
        if missing:
            # A short draw gives the first crops of a long one, so a resumed run has the same.
            few = min(settings.alignment_crops, settings.crops)
            pool = pool.first(few) if pool else _draw(few, report, workers)
            for name in missing:
                with artifacts.atomic(cache / name) as folder:
                    folder.mkdir()
                    _align(name, pool, settings, report, folder)
    finally:
        torch.set_num_threads(before)


def _draw(count: int, report: Report, workers: int) -> _Pool:
    rng = np.random.default_rng([SEED, 7])
    samples = photographs.draw_samples(
        photographs.weights_of("train"), count, rng, rows.HALF_SHARE, rows.PRISTINE_SHARE
    )
    report("drawing crops", 0, count)
    drawn = list(rows.render_in_processes(samples, 200, workers))
    report("drawing crops", count, count)
    quality = [rows.pseudo_mos(s, ssim) for s, (_, ssim) in zip(samples, drawn, strict=True)]
    return _Pool(samples, np.stack([pixels for pixels, _ in drawn]), np.array(quality, np.float32))


def _update(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float, progress: float) -> None:
    """One optimiser step after the share `progress` of the steps; `rate` is the peak."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(progress, rate, 0.1, 0.0)
    optimiser.zero_grad()
    loss.backward()
    for group in optimiser.param_groups:
        nn.utils.clip_grad_norm_(group["params"], 1.0)
    optimiser.step()


def _features(tower: Any, images: Tensor) -> Tensor:
    """Return the tower's features of the four tiles of each crop, pooled to [B, 4, 4, hidden].

    `images`: float [B, 3, 64, 64]. The features are those before the last layer norm, as in
    LLaVA-OneVision.
    """
    size, side, per = len(images), models.SIDE // models.TILE, models.TILE // models.PATCH
    tiles = images.view(size, 3, side, models.TILE, side, models.TILE).permute(0, 2, 4, 1, 3, 5)
    out = tower(tiles.reshape(-1, 3, models.TILE, models.TILE), output_hidden_states=True)
    hidden = out.hidden_states[-1].view(size, side, side, per, per, -1)
    return (
        hidden.view(size, side, side, per // 2, 2, per // 2, 2, -1)
        .mean(dim=(4, 6))
        .permute(0, 1, 3, 2, 4, 5)
        .reshape(size, side * per // 2, side * per // 2, -1)
    )


class _Heads(nn.Module):
    """The tower's tasks in pre-training: kind of distortion and quality of the crop; presence and
    kind of distortion, and mean colour, of each of its 4 x 4 spots."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.crop = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(KINDS) + 1))
        self.spot = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1 + len(KINDS) + 3))

    def loss(
        self, features: Tensor, images: Tensor, kind: Tensor, quality: Tensor, mask: Tensor
    ) -> Tensor:
        crop = self.crop(features.mean(dim=(1, 2)))
        spot = self.spot(features.flatten(1, 2))
        flagged = mask.flatten(1)
        colour = F.avg_pool2d(images, models.SIDE // 4).flatten(2).transpose(1, 2)
        return (
            F.cross_entropy(crop[:, :-1], kind)
            + 2 * F.smooth_l1_loss(crop[:, -1], quality / 20 - 3)
            + F.binary_cross_entropy_with_logits(spot[..., 0], flagged.float())
            + F.cross_entropy(spot[..., 1:-3].flatten(0, 1), (kind[:, None] * flagged).flatten())
            + F.mse_loss(spot[..., -3:], colour)
        )


def _train_tower(pool: _Pool, settings: Pretraining, report: Report, folder: Path) -> None:
    torch.manual_seed(SEED)
    rng = torch.Generator().manual_seed(SEED)
    tower = SiglipVisionModel(models.TOWER)
    heads = _Heads(models.TOWER.hidden_size)
    weights = [*tower.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(weights, weight_decay=0.05)
    pixels = torch.from_numpy(pool.pixels).permute(0, 3, 1, 2)
    quality = torch.from_numpy(pool.quality)
    kind = torch.tensor([KINDS.index(s.distortion) for s in pool.samples])
    centres = slice(models.SIDE // 8, None, models.SIDE // 4)
    places = [photographs.place_mask(s.place)[centres, centres] for s in pool.samples]
    mask = torch.from_numpy(np.stack(places)) & (kind > 0)[:, None, None]
    for done in range(settings.tower_steps):
        chosen = torch.randint(len(pixels), (64,), generator=rng)
        images, spotted = (pixels[chosen].float() / 255 - 0.5) / 0.5, mask[chosen]
        if torch.rand((), generator=rng) < 0.5:
            images, spotted = images.flip(3), spotted.flip(2)
        # There are few photographs; swapped colour channels make more of them.
        images = images[:, torch.randperm(3, generator=rng)].contiguous()
        loss = heads.loss(_features(tower, images), images, kind[chosen], quality[chosen], spotted)
        _update(optimiser, loss, _TOWER_RATE, (done + 1) / settings.tower_steps)
        if (done + 1) % 25 == 0 or done + 1 == settings.tower_steps:
            report("vision tower", done + 1, settings.tower_steps)
    save_file(
        {k: v.contiguous() for k, v in tower.state_dict().items()}, folder / "tower.safetensors"
    )


def caption(sample: photographs.Sample, rng: np.random.Generator) -> str:
    """Return a short caption of a crop's content and quality, in words that the catalog does not
    use."""
    items = questions.content_items(sample, rng)
    shown = items[0].answer if items else "a detail"
    if sample.distortion == photographs.PRISTINE:
        return f"{shown}, fine all over"
    amount = _AMOUNT[questions.strength_of(sample.severity)]
    word = photographs.DISTORTIONS[sample.distortion].caption
    place = "all over" if sample.place == "whole" else f"on the {sample.place.split()[0]}"
    return f"{shown}, {amount} {word} {place}"


def make_tokenizer(samples: list[photographs.Sample], seed: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer on questions, answers and captions of `samples`, levels and prompts."""
    rng = np.random.default_rng([seed, 9])
    texts = [f"{LEVEL_STEM} {level}." for level in LEVELS for _ in range(50)]
    texts += [SCORING_QUESTION] * 50
    texts += [f"<|im_start|>{role}\n" for role in ("user", "assistant", "system")] * 20
    blank = np.zeros((photographs.CROP, photographs.CROP, 3), np.uint8)
    for sample in samples:
        items = questions.quality_items(sample, blank, rng)
        items += questions.content_items(sample, rng)
        texts += [multiple_choice_prompt(i.question, [i.answer, *i.wrong]) for i in items]
        texts += [*questions.description(sample, blank, rng), caption(sample, rng)]
    texts += [f"Which colour fills most of this image? {c}" for c in questions.COLOURS] * 20
    texts += [f"The lighting is {w}. Is this image {w}?" for w in questions.LIGHT] * 20
    return models.make_tokenizer(texts)


def _align(name: str, pool: _Pool, settings: Pretraining, report: Report, folder: Path) -> None:
    tokenizer = make_tokenizer(pool.samples[:400], SEED)
    model = models.make_model(models.DECODERS[name], tokenizer, SEED)
    model.model.vision_tower.load_state_dict(
        load_file(folder.with_name("tower") / "tower.safetensors")
    )
    processor = models.processor_of(model, tokenizer)
    accept_tiles(model, processor.image_processor)
    encoder = Encoder(processor, Path(), max_length=512)
    rng = np.random.default_rng([SEED, 11])
    captioned = [
        encoder.answer(Image.fromarray(pixels), "<image>\nCaption this.", caption(sample, rng))
        for sample, pixels in zip(pool.samples, pool.pixels, strict=True)
    ]
    model.model.vision_tower.requires_grad_(False)
    weights = [p for p in model.parameters() if p.requires_grad]
    rate = _ALIGNMENT_RATE[name]
    optimiser = torch.optim.AdamW(weights, weight_decay=0.0)
    model.train()
    for done in range(settings.alignment_steps):
        chosen = rng.integers(len(captioned), size=32)
        batch = tensors(collate([captioned[i] for i in chosen], tokenizer.pad_token_id))
        loss, tokens = answer_loss(model, batch)
        _update(optimiser, loss / tokens, rate, (done + 1) / settings.alignment_steps)
        if (done + 1) % 10 == 0 or done + 1 == settings.alignment_steps:
            report(f"aligning the {name}", done + 1, settings.alignment_steps)
    model.requires_grad_(True)
    save(model.eval(), processor, folder)
