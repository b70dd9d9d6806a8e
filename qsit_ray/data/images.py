"""pure: image files to upright RGB pictures, as a viewer shows them."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.Image import Transpose

from qsit_ray.errors import InputError

# EXIF's orientations but the upright one.
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
SIDEWAYS = (Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90)


class File(Protocol):
    """A file of this machine, of an object store, or of a pack. Its text names it."""

    def read_bytes(self) -> bytes: ...


PLAIN = ("JPEG", "PNG", "WEBP")


@dataclass(frozen=True)
class Content:
    """A file's bytes, already read."""

    content: bytes
    name: str

    def read_bytes(self) -> bytes:
        return self.content

    def __str__(self) -> str:
        return self.name


# A name that no file can have is one that is missing: a row may hold a caption in place of a path.
MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


def read(file: File) -> Image.Image:
    """The picture of an image file, upright and RGB.

    Raises InputError naming the file when it is missing, may not be read, is no whole image of a
    format that Pillow knows, or has more pixels than Pillow's limit. Other OSErrors pass: they are
    the machine's, and another try may succeed.
    """
    with _opened(file) as image:
        return upright(image)


def from_bytes(content: bytes, name: str) -> Image.Image:
    """The picture of an image file's content, with the errors of `read`, which name it `name`."""
    return read(Content(content, name))


def check(file: File) -> tuple[int, int]:
    """Height and width of the picture that `read` gives, with the same errors.

    The whole file is read and its compressed data decoded, so a truncated file is found. JPEG is
    decoded at an eighth of its size, without colour, in under half the time.
    """
    with _opened(file) as image:
        width, height = image.size
        image.draft("L", (1, 1))
        _rgb(image)
        return (width, height) if _turn(image) in SIDEWAYS else (height, width)


def glance(file: File) -> Image.Image:
    """A small upright picture, of at least 64 pixels a side where the file has them, with the same
    errors as `read`. JPEG is decoded at a part of its size, in a fraction of the time."""
    with _opened(file) as image:
        image.draft("L", (64, 64))
        return upright(image)


def size(file: File) -> tuple[int, int]:
    """Height and width of the picture that `read` gives, from the file's header alone, with the
    same errors as far as a header shows them."""
    with _opened(file) as image:
        width, height = image.size
        return (width, height) if _turn(image) in SIDEWAYS else (height, width)


def is_plain(file: File) -> bool:
    """Whether any program shows a file's bytes as `read` does: JPEG, PNG or WebP, upright, of 8
    bits a channel, grey or RGB, without transparency. The errors are those of `check`."""
    with _opened(file) as image:
        known = image.format in PLAIN and image.mode in ("L", "RGB")
        opaque = "transparency" not in image.info
        image.draft("L", (1, 1))
        _rgb(image)
        return known and opaque and _turn(image) is None


def upright(image: Image.Image) -> Image.Image:
    """An opened image as upright RGB. Raises ValueError for values that are no numbers.

    Integers of 16 bits and floats are scaled, where Pillow's own conversion would clip them: white
    is 1, 255 or 65,535, whichever is the least that the values reach up to; of more than 16 bits,
    2^31. Transparency is ignored; transformers' processor would lay such pixels over white.
    """
    rgb = _rgb(image)
    # Of a palette or a key colour, which a processor would go by.
    rgb.info.pop("transparency", None)
    turn = _turn(image)  # after loading: Pillow turns some formats itself, and then says so
    if turn is None:
        return rgb
    turned = rgb.transpose(turn)
    turned.info = {}  # or it would be turned once more where it is read next
    return turned


@contextmanager
def _opened(file: File) -> Iterator[Image.Image]:
    source: Path | io.BytesIO
    if isinstance(file, Path):
        source = file
    else:
        try:
            source = io.BytesIO(file.read_bytes())
        except OSError as error:
            raise _unreadable(file, error) from None
    try:
        with Image.open(source) as image:
            yield image
    except MemoryError:
        raise
    except Exception as error:  # a broken file can make a decoder raise anything
        if isinstance(error, OSError) and error.errno is not None:
            raise _unreadable(file, error) from None
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "of no format that Pillow knows"
        raise InputError(f"{file}: not a readable image ({reason})") from None


def _unreadable(file: File, error: OSError) -> Exception:
    """What a file is that can't be read; the error itself where that is the machine's, or the
    store's, and another try may succeed."""
    if isinstance(error, FileNotFoundError) or error.errno in MISSING:
        return InputError(f"{file}: image file is missing")
    if isinstance(error, PermissionError):
        return InputError(f"{file}: image file may not be read (no permission)")
    if error.errno == errno.ELOOP:
        return InputError(f"{file}: its links lead in a circle")
    if isinstance(error, IsADirectoryError):
        return InputError(f"{file}: a folder; expected an image file")
    return error


def _rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode != "F" and not image.mode.startswith("I"):
        return image.convert("RGB")
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it has values that are no numbers")
    grey = np.rint(np.clip(values * (255 / _white(image.mode, values.max())), 0, 255))
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _white(mode: str, highest: float) -> float:
    if mode.startswith("I"):
        return 65535 if mode.startswith("I;16") or highest <= 65535 else 2**31 - 1
    # Resampling may overshoot 1 a little.
    return next((white for white, most in ((1, 2), (255, 256)) if highest <= most), 65535)


def _turn(image: Image.Image) -> Transpose | None:
    """The turn that puts an image upright."""
    try:
        return TURNS.get(image.getexif().get(Base.Orientation, 1))
    except Exception:  # broken EXIF data do not hide the picture
        return None
