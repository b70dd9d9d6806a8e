"""pure: how many tiles and tokens LLaVA-OneVision makes of an image, by arithmetic.

`config` is a LlavaOnevisionConfig or anything with its fields; sizes are (height, width) in pixels.
"""

from __future__ import annotations

import math
from typing import Any


def grid(size: tuple[int, int], config: Any) -> tuple[int, int]:
    """Rows and columns of tiles that the image is cut into, the whole image's own tile aside.

    Of the allowed resolutions it is the one that keeps most of the image's pixels, and of those
    the one that adds the fewest.
    """
    height, width = size

    def fit(resolution: tuple[int, int]) -> tuple[int, int]:
        scale = min(resolution[0] / height, resolution[1] / width)
        kept = min(int(height * scale) * int(width * scale), height * width)
        return kept, -resolution[0] * resolution[1]

    best = max((tuple(pinpoint) for pinpoint in config.image_grid_pinpoints), key=fit)
    side = config.vision_config.image_size
    return best[0] // side, best[1] // side


def tiles(size: tuple[int, int], config: Any) -> int:
    """Tiles that the tower sees of one image."""
    rows, columns = grid(size, config)
    return 1 + rows * columns


def tokens(size: tuple[int, int], config: Any) -> int:
    """Tokens of one image: its thumbnail's, and its tiles' without padding and with a newline a
    row, pooled where they are more than the configuration allows."""
    patches = config.vision_config.image_size // config.vision_config.patch_size
    rows, columns = (patches * n for n in grid(size, config))
    height, width = size
    if width / height > columns / rows:
        rows -= (rows - int(round(height * columns / width, 7))) // 2 * 2
    else:
        columns -= (columns - int(round(width * rows / height, 7))) // 2 * 2
    allowed = int(config.vision_aspect_ratio.removeprefix("anyres_max_")) * patches**2
    ratio = math.sqrt(rows * columns / allowed)
    if ratio > 1.1:
        rows, columns = int(rows // ratio), int(columns // ratio)
    return patches**2 + rows * (columns + 1)


def most_tiles(config: Any) -> int:
    """Tiles of the image that takes the most."""
    return max(tiles((height, width), config) for height, width in config.image_grid_pinpoints)
