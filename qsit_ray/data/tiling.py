"""pure: the tiles of an image, as transformers' processor of LLaVA-OneVision cuts them.

The processor turns the picture into an array, and back into a picture for each resizing, of which
the tiles get one more each, in copies that hold Python's lock. Here a picture is resized as it is
(`make bench ONLY=scaling_images`: both, side by side). Filters, sizes and the order of tiles are
the processor's, and the values are equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CHANNELS = 3


def is_plain(processor: Any) -> bool:
    """Whether an image processor only resizes: to square tiles, on grids that are whole tiles."""
    size = processor.size
    side = size["height"]
    grids = processor.image_grid_pinpoints
    return bool(
        processor.do_resize
        and not processor.do_center_crop
        and not processor.crop_size
        and side
        and side == size["width"]
        and all(height % side == 0 and width % side == 0 for height, width in grids)
    )


def cut_tiles(rgb: Image.Image, processor: Any) -> NDArray[np.uint8]:
    """uint8 [tiles, 3, side, side] of the only image of a row: the whole image first, then the
    tiles of its grid, row by row (LLaVA-OneVision's any-resolution scheme, Li et al. 2024, 3.2).
    The processor is one that `is_plain`."""
    from transformers.image_processing_utils import get_patch_output_size, select_best_resolution
    from transformers.image_utils import ChannelDimension

    side, resample = int(processor.size["height"]), processor.resample
    grid = select_best_resolution((rgb.height, rgb.width), processor.image_grid_pinpoints)
    rows, columns = grid[0] // side, grid[1] // side
    shape = np.broadcast_to(np.uint8(0), (CHANNELS, rgb.height, rgb.width))
    height, width = get_patch_output_size(shape, grid, ChannelDimension.FIRST)
    top, left = (grid[0] - height) // 2, (grid[1] - width) // 2
    canvas = np.zeros((*grid, CHANNELS), np.uint8)
    canvas[top : top + height, left : left + width] = rgb.resize((width, height), resample)
    found = np.empty((1 + rows * columns, CHANNELS, side, side), np.uint8)
    found[0] = np.asarray(rgb.resize((side, side), resample)).transpose(2, 0, 1)
    cut = canvas.reshape(rows, side, columns, side, CHANNELS).transpose(0, 2, 4, 1, 3)
    found[1:].reshape(rows, columns, CHANNELS, side, side)[...] = cut
    return found
