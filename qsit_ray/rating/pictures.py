"""pure: images of any kind that users hold: paths, addresses of object stores, bytes, arrays."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from qsit_ray import addresses
from qsit_ray.data import images
from qsit_ray.data.encode import Shown
from qsit_ray.errors import InputError

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://")
Source = Any
"""A path, an address such as s3://…, an image file's bytes, a picture of PIL, or an array: numpy's
H × W or H × W × 3 (or 1, or 4), torch's 3 × H × W (or 1); of uint8, or of floats from 0 to 1."""


class Unreachable(InputError):
    """An image that could not be fetched now, and may be another time."""


def is_address(text: str) -> bool:
    """Whether fsspec reads it, rather than this machine's files."""
    return _ADDRESS.match(text) is not None


def name_of(source: Source, number: int) -> str:
    """A path or address as it is; `image 3` of anything else."""
    named = isinstance(source, str | Path | images.Content)
    # A file's name may have bytes that are no text.
    text = str(source).encode("utf-8", "backslashreplace").decode()
    return text if named else f"image {number}"


def is_kept(source: Source) -> bool:
    """Whether it stays as it is until it is read: a path, an address or bytes. A picture or an
    array may be used again by who gave it, as a video's frames are."""
    return isinstance(source, str | Path | bytes | images.Content)


def shown(source: Source, name: str) -> Shown:
    """The image as an encoder takes it. A path is not opened yet.

    Raises InputError, with the image's name, for what is no image, and for an address with a
    password.
    """
    if isinstance(source, images.Content):
        return source
    if isinstance(source, str | Path):
        text = str(source)
        return images.Content(_fetched(text), text) if is_address(text) else Path(text).absolute()
    if isinstance(source, bytes | bytearray | memoryview):
        return images.Content(bytes(source), name)
    if isinstance(source, Image.Image):
        try:
            return images.upright(source)
        except Exception as error:  # a file that was opened and is broken raises anything
            raise InputError(f"{name}: not a readable image ({error})") from None
    return Image.fromarray(_pixels(source, name))


def _fetched(address: str) -> bytes:
    import fsspec

    addresses.check(address)
    try:
        with fsspec.open(address, "rb") as file:
            content: bytes = file.read()
            return content
    except MemoryError:
        raise
    except Exception as error:  # each store has its own
        reason = " ".join(str(error).split()) or type(error).__name__
        final = isinstance(error, FileNotFoundError | PermissionError)
        kind = InputError if final else Unreachable
        raise kind(f"{address}: can't be fetched: {reason}") from None


def _pixels(source: Source, name: str) -> np.ndarray:
    """uint8 [H, W, 3]."""
    if not hasattr(source, "shape"):
        kind = type(source).__name__
        raise InputError(f"{name}: {kind} is no path, bytes, picture of PIL or array")
    is_tensor = type(source).__module__.partition(".")[0] == "torch"
    try:
        array = source.detach().cpu().float().numpy() if is_tensor else np.asarray(source)
        whole = str(source.dtype) == "torch.uint8" if is_tensor else array.dtype == np.uint8
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name}: not an image: {error}") from None
    if is_tensor and array.ndim == 3:
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        wanted = "3 × H × W" if is_tensor else "H × W × 3"
        raise InputError(f"{name}: an array of shape {tuple(source.shape)}; expected {wanted}")
    if not whole:
        if not (np.issubdtype(array.dtype, np.floating) and np.isfinite(array).all()):
            raise InputError(f"{name}: expected uint8, or floats from 0 to 1, got {source.dtype}")
        if array.min() < 0 or array.max() > 1:
            raise InputError(
                f"{name}: floats from {array.min():.3g} to {array.max():.3g}; expected 0 to 1"
            )
        array = np.rint(array * 255)
    array = array[:, :, :3].astype(np.uint8)
    return np.broadcast_to(array, (*array.shape[:2], 3)).copy()
