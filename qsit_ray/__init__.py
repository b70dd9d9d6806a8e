"""pure: qsit_ray finds the data mix of a vision-language model with a proxy and trains with it."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["Rater"]


def __getattr__(name: str) -> Any:
    """`from qsit_ray import Rater`, without torch for who imports anything else."""
    if name == "Rater":
        return import_module("qsit_ray.rating.rater").Rater
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
