"""torch: the useful share of the GPUs' time, for ways to divide a global batch into micro-batches.

No model runs: the rows of the paper's mix get image sizes and texts from the distributions below,
and each row's work follows from its tokens and tiles. At each accumulation step all ranks wait for
the slowest, so the share is the work of the rows over the ranks times the slowest rank's padded
work. Writes the section `useful-share` of docs/PERFORMANCE.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qsit_ray.config.presets import FOUND, POOLS, paper
from qsit_ray.data.micro_batches import Bounds, MicroBatches, micro_batches, work
from qsit_ray.evaluation.studies.sections import (
    Count,
    Page,
    Seed,
    command_line,
    table,
    write_section,
)
from qsit_ray.mixture import DOMAINS, PADDING, EpochPlan, from_ratios, plan_epoch
from qsit_ray.models.architectures import architecture, image_tiles, image_tokens

Integers = NDArray[np.int64]
Size = tuple[int, int]
Division = Callable[[Integers], MicroBatches]

# Shares of (height, width) by source. KonIQ's are as released. SPAQ's and COCO's shares are
# assumed: originals of phones, mostly 12 megapixels, and photographs of at most 640 pixels a side.
SIZES: dict[str, dict[Size, float]] = {
    "koniq": {(768, 1024): 1.0},
    "spaq": {
        (3000, 4000): 0.4,
        (4000, 3000): 0.2,
        (3024, 4032): 0.15,
        (2448, 3264): 0.1,
        (3120, 4160): 0.1,
        (2160, 3840): 0.05,
    },
    "coco": {
        (480, 640): 0.45,
        (640, 480): 0.2,
        (427, 640): 0.2,
        (640, 427): 0.1,
        (512, 640): 0.05,
    },
    "small": {(512, 512): 0.6, (500, 500): 0.1, (480, 640): 0.3},
}
# Images by source: D1's training rows, Table III's images of D2, and LLaVA-Instruct's.
SOURCES: dict[str, dict[str, int]] = {
    "scoring": {"koniq": 7_046, "spaq": 8_897},
    "interpreting": {"koniq": 5_182, "spaq": 10_797, "small": 1_984, "coco": 1_012},
    "general": {"coco": 1},
}
# Mean tokens of a row's text, and the standard deviation of its logarithm, assumed: of 1,750 human
# feedbacks on 400 images of D2 the latter is .24, and questions and conversations are mixed in.
TEXT: dict[str, tuple[float, float]] = {
    "scoring": (40, 0.0),
    "interpreting": (80, 0.5),
    "general": (320, 0.5),
}
CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True)
class Rows:
    """Of every catalog row: characters of text, tokens of text and image, tiles; int64 [rows]."""

    characters: Integers
    tokens: Integers
    tiles: Integers


@dataclass(frozen=True)
class Found:
    """One way to divide: the useful share, micro-batches of a rank in a step (mean), and the most
    padded tokens of a micro-batch. `decoder`: tokens computed for each token of the rows."""

    share: float
    accumulation: float
    most_tokens: int
    decoder: float


def catalog(seed: int) -> Rows:
    """The paper's pools with drawn image sizes and texts."""
    shape = architecture("7b")
    chance = np.random.default_rng([seed, 1])
    text, image, tiles = [], [], []
    for domain in DOMAINS:
        count = POOLS.model_dump()[domain]
        mean, spread = TEXT[domain]
        drawn = chance.lognormal(np.log(mean) - spread**2 / 2, spread, count)
        text.append(np.maximum(drawn.round(), 8).astype(np.int64))
        weights = {
            size: images * share
            for source, images in SOURCES[domain].items()
            for size, share in SIZES[source].items()
        }
        sizes = list(weights)
        odds = np.array(list(weights.values())) / sum(weights.values())
        of = chance.choice(len(sizes), count, p=odds)
        image.append(np.array([image_tokens(size, shape) for size in sizes])[of])
        tiles.append(np.array([image_tiles(size, shape) for size in sizes])[of])
    texts = np.concatenate(text)
    return Rows(CHARACTERS_A_TOKEN * texts, texts + np.concatenate(image), np.concatenate(tiles))


def equal_counts(rows: Integers, keys: Integers | None, ranks: int, micro: int) -> MicroBatches:
    """The rows sorted by `keys`, of every catalog row, and cut into equal numbers; None: as they
    are. The last micro-batches may lack rows."""
    ordered = rows if keys is None else rows[np.argsort(keys[rows], kind="stable")]
    cut = [ordered[start : start + micro] for start in range(0, len(ordered), micro)]
    cut += [np.array([PADDING])] * (-len(cut) % ranks)
    return [cut[start : start + ranks] for start in range(0, len(cut), ranks)]


def simulate(plan: EpochPlan, rows: Rows, divide: Division, steps: int) -> Found:
    """Divide the first `steps` global batches of the plan."""
    needed = spent = groups = most = padded = real = 0
    for step in range(steps):
        own = plan.step_rows(step)
        tokens, tiles = rows.tokens[own], rows.tiles[own]
        needed += int(work(np.ones_like(tokens), tokens, tiles).sum())
        real += int(tokens.sum())
        for ranks in divide(own):
            held = [micro for micro in ranks if PADDING not in micro]
            longest = [int(rows.tokens[micro].max()) for micro in held]
            seen = [int(rows.tiles[micro].sum()) for micro in held]
            counts = [len(micro) for micro in held]
            spent += len(ranks) * int(work(*map(np.array, (counts, longest, seen))).max())
            sizes = [count * length for count, length in zip(counts, longest, strict=True)]
            most, padded, groups = max(most, *sizes), padded + sum(sizes), groups + 1
    return Found(needed / spent, groups / steps, most, padded / real)


def primary(steps: int, seed: int) -> dict[str, Found]:
    """Ways to divide the primary's global batches among the paper preset's ranks."""
    train, rows = paper().train, catalog(seed)
    ranks, bounds = train.workers, Bounds(train.micro_batch, train.micro_tokens)
    plan = _plan(seed)

    def equal(keys: Integers, micro: int) -> Division:
        return lambda own: equal_counts(own, keys, ranks, micro)

    ways: dict[str, Division] = {
        "sorted by characters, 2 rows": equal(rows.characters, 2),
        "sorted by tokens, 2 rows": equal(rows.tokens, 2),
        "sorted by tokens, 1 row": equal(rows.tokens, 1),
        f"at most {bounds.tokens:,} tokens and {bounds.rows} rows": lambda own: micro_batches(
            own, rows.tokens, rows.tiles, ranks, bounds
        ),
    }
    return {name: simulate(plan, rows, divide, steps) for name, divide in ways.items()}


def proxy(steps: int, seed: int) -> dict[str, Found]:
    """Ways to divide a trial's global batches, on one GPU."""
    search, rows = paper().search, catalog(seed)
    assert search.micro_batch is not None
    bounds = Bounds(search.micro_batch, search.micro_tokens)
    ways: dict[str, Division] = {
        "in the plan's order, 8 rows": lambda own: equal_counts(own, None, 1, 8),
        f"at most {bounds.tokens:,} tokens and {bounds.rows} rows": lambda own: micro_batches(
            own, rows.tokens, rows.tiles, 1, bounds
        ),
    }
    return {name: simulate(_plan(seed), rows, divide, steps) for name, divide in ways.items()}


def _plan(seed: int) -> EpochPlan:
    mixture = from_ratios(FOUND, POOLS.scoring)
    batch = paper().train.training.batch_size
    return plan_epoch(mixture, POOLS.model_dump(), 0, seed, batch)


def write(out: Page, steps: Count = 400, seed: Seed = 0) -> None:
    """The useful share of the GPUs' time by the division into micro-batches."""
    shares = [
        [way, f"{found.accumulation:.1f}", f"{found.most_tokens:,}", f"{found.share:.3f}"]
        for way, found in primary(steps, seed).items()
    ]
    padding = [
        [way, f"{found.accumulation:.1f}", f"{found.most_tokens:,}", f"{found.decoder:.2f}"]
        for way, found in proxy(steps, seed).items()
    ]
    counts = ["micro-batches a step", "most tokens of one"]
    write_section(
        out,
        "useful-share",
        f"By {command_line('useful_share', 'docs/PERFORMANCE.md', steps=steps, seed=seed)}.",
        f"The primary, {paper().train.workers} ranks and global batches of "
        f"{paper().train.training.batch_size} rows:",
        table(["micro-batches", *counts, "useful share"], shares),
        "A trial of the proxy, on one GPU:",
        table(["micro-batches", *counts, "tokens computed for one"], padding),
    )
