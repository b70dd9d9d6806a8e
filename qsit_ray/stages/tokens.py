"""torch: the tokens stage: tokens and tiles of each training row, for the proxy and the primary."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.data.catalog import open_catalog
from qsit_ray.data.encode import NO_TOKEN
from qsit_ray.data.tokens import Counts, Ruler, count, refuse_lost, write_tokens
from qsit_ray.errors import InputError
from qsit_ray.models import load
from qsit_ray.models.architectures import (
    has_vision,
    image_tiles,
    image_tokens,
    tokens_of_several,
)
from qsit_ray.models.base import Role, base_checkpoint, used
from qsit_ray.models.hub import folder_of
from qsit_ray.models.weights import read_config
from qsit_ray.terminal import Terminal


def count_tokens(run: RunFolder, config: Config, terminal: Terminal) -> None:
    """Count the catalog's rows as the run's models see them, into tokens/.

    Models that count alike are counted once. Raises InputError naming a training or validation row
    that leaves no answer within `models.max_length`, or a model whose processor can't be read.
    """
    models = used(config)
    stages: dict[Role, dict[str, object]] = {
        which: {
            "catalog": artifacts.file_sha256(run.catalog / "manifest.json"),
            "processor": processor_identity(base_checkpoint(config, which)),
            "max_length": config.models.max_length,
        }
        for which in models
    }
    pending = [
        which
        for which, inputs in stages.items()
        if not (run.is_complete(f"tokens {which}", inputs) and run.tokens(which).exists())
    ]
    rulers = {
        which: ruler_of(base_checkpoint(config, which), config.models.max_length)
        for which in pending
    }
    known: dict[str, Counts] = {}
    for which, (ruler, meaning) in rulers.items():
        with run.stage(f"tokens {which}", stages[which]):
            if meaning not in known:
                alike = [other for other in pending if rulers[other][1] == meaning]
                known[meaning] = _counted(run, ruler, " and ".join(alike), terminal)
            with artifacts.atomic(run.tokens(which)) as temporary:
                write_tokens(temporary, known[meaning])


def _counted(run: RunFolder, ruler: Ruler, models: str, terminal: Terminal) -> Counts:
    catalog = open_catalog(run.catalog)
    if ruler.image_id == NO_TOKEN and (shown := catalog.first_with_image()):
        raise InputError(f"row {shown}: it has an image, and models.{models} reads text alone")
    with terminal.bar(f"Count tokens ({models})") as bar:
        counted = count(catalog.rows, ruler, bar.update)
    refuse_lost(counted, catalog.rows, ruler.max_length)
    validation = count(catalog.validation_rows, ruler, lambda done, total: None)
    try:
        refuse_lost(validation, catalog.validation_rows, ruler.max_length)
    except InputError as error:
        raise InputError(f"validation {error}") from None
    cut = int(counted.cut.sum())
    terminal.say(
        f"{counted.tokens.sum():,} tokens in {len(counted.tokens):,} training rows"
        + (f"; {cut:,} answers are cut at models.max_length {ruler.max_length}" if cut else "")
    )
    return counted


def ruler_of(name: str, max_length: int) -> tuple[Ruler, str]:
    """How the checkpoint `name` counts, and a digest: equal ones count alike."""
    config = read_config(folder_of(name))
    processor = load.load_processor(name, config)

    @cache
    def picture(size: tuple[int, int]) -> tuple[int, int]:
        return image_tokens(size, config), image_tiles(size, config)

    side, image_id = 0, NO_TOKEN
    if has_vision(config):
        side = int(processor.image_processor.size["height"])
        image_id = int(processor.image_token_id)
    ruler = Ruler(
        tokenizer=processor.tokenizer,
        image_id=image_id,
        picture=picture,
        of_several=tokens_of_several(config),
        blank=(side, side),
        max_length=max_length,
    )
    return ruler, artifacts.digest(_meaning(processor, config))


def _meaning(processor: Any, config: Any) -> dict[str, object]:
    """Everything that the counts of a processor depend on."""
    tokenizer = processor.tokenizer.backend_tokenizer.to_str()
    if not has_vision(config):
        return {"tokenizer": tokenizer}
    return {
        "tokenizer": tokenizer,
        "image_id": int(processor.image_token_id),
        "side": int(processor.image_processor.size["height"]),
        "grids": [list(grid) for grid in config.image_grid_pinpoints],
        "pooling": config.vision_aspect_ratio,
        "patches": config.vision_config.image_size // config.vision_config.patch_size,
        "tile": config.vision_config.image_size,
    }


def processor_identity(name: str) -> dict[str, str]:
    """The hashes of a folder's tokenizer and configurations, without its weights, or the Hugging
    Face name."""
    files = sorted(p for kind in ("*.json", "*.txt", "*.jinja") for p in Path(name).glob(kind))
    kept = {p.name: artifacts.file_sha256(p) for p in files if not p.name.endswith("index.json")}
    return kept or {"name": name}
