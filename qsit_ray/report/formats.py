"""pure: files of a run folder that are not as their format has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qsit_ray.errors import InputError


@contextmanager
def formatted(path: Path) -> Iterator[None]:
    """Turn a lack in the content of `path` into an InputError that names it."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        what = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: not as the run folder's format has it: {what}") from None
