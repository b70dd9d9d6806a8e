"""pure: images as small JPEG files within a page."""

from __future__ import annotations

import base64
import io

from PIL import Image

from qsit_ray.data import images
from qsit_ray.errors import InputError

QUALITY = 80


def thumbnail(file: images.File, side: int) -> str | None:
    """An image as a data: URI of a JPEG whose longer side is at most `side` pixels; None where it
    can't be read any more. A much smaller image is shown larger, with its pixels as squares."""
    try:
        picture = images.read(file)
    except (InputError, OSError):
        return None
    factor = side // max(picture.size)
    if factor > 1:
        larger = (picture.width * factor, picture.height * factor)
        picture = picture.resize(larger, Image.Resampling.NEAREST)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    kept = io.BytesIO()
    picture.save(kept, "jpeg", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(kept.getvalue()).decode()}"
