"""pure: the settings in which two configurations differ, and what may change during a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from qsit_ray.config.config import Config
from qsit_ray.config.search import setting
from qsit_ray.config.section import OPERATIONAL
from qsit_ray.mixture import Axis

Kind = Literal["operational", "extension", "result"]
Part = str
"""A costly part of a run: `search <axis>` of each axis, `proxies` and `train`."""
# Read from the trials afterwards, so they repeat no trial of their own axis.
FIT_SETTINGS = ("coordinate", "degree", "surrogate")


def parts_of(axes: Iterable[Axis]) -> tuple[Part, ...]:
    """The costly parts of a run that searches these axes; each depends on those before it."""
    return (*(f"search {axis.name}" for axis in axes), "proxies", "train")


def dependent(axes: Sequence[Axis]) -> dict[str, tuple[Part, ...]]:
    """The parts whose results depend on a setting, by the longest prefix of its key."""
    every = parts_of(axes)
    searches, search = every[:-2], every[:-1]
    found: dict[str, tuple[Part, ...]] = {
        "": every,
        # The catalog depends on the rows of the files and the sizes of the images, not on their
        # place.
        "data.images": (),
        "data.packed": (),
        "models.proxy": search,
        "models.primary": ("train",),
        "search": search,
        "search.proxy_seeds": ("proxies",),
        "search.proxy_epochs": ("proxies",),
        "mix": ("proxies", "train"),
        "train": ("train",),
        # Fits and evaluations are made again from the trials and the model.
        "evaluate": (),
    }
    for number, axis in enumerate(axes):
        key = setting(axis.name)
        found[key] = (searches[number],)
        for name in FIT_SETTINGS:
            found[f"{key}.{name}"] = every[number + 1 :]
    # It chooses the best of the final proxies, too.
    found[f"{setting(axes[-1].name)}.answers"] = (searches[-1], "proxies")
    return found


@dataclass(frozen=True)
class Change:
    """A setting by its dotted key, with its values in two configurations as JSON.

    `operational`: it changes memory, speed, patience or reporting. `extension`: the new value adds
    trials or epochs, and those done stay valid. `result`: results depend on it, those of the
    `parts` of a run.
    """

    key: str
    before: object
    now: object
    kind: Kind
    parts: tuple[Part, ...] = ()


def changes(before: Config, now: Config) -> list[Change]:
    """The settings in which `now` differs from `before`, in the order of the configuration."""
    values = before.model_dump(mode="json"), now.model_dump(mode="json")
    # Where the pools differ so do the data, on which every part depends.
    parts = dependent(before.axes)
    found = []
    for key, old, new in differ(*values):
        kind = _kind(key, old, new, before, now)
        prefixes = (prefix for prefix in parts if f"{key}.".startswith(f"{prefix}."))
        of = parts[max(prefixes, key=len, default="")] if kind == "result" else ()
        found.append(Change(key, old, new, kind, of))
    return found


def differ(before: Any, now: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted name, old and new value of each value in which two nested dicts differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [*before, *(name for name in now if name not in before)]
        return [
            each
            for name in names
            for each in differ(before.get(name), now.get(name), f"{key}.{name}" if key else name)
        ]
    return [] if before == now else [(key, before, now)]


def _kind(key: str, old: Any, new: Any, before: Config, now: Config) -> Kind:
    divides = key.endswith((".micro_batch", ".micro_tokens", "train.workers"))
    if divides and (before.micro_batches_count or now.micro_batches_count):
        return "result"
    if _is_operational(key, before) and _is_operational(key, now):
        return "operational"
    return "extension" if _extends(key, old, new, before, now) else "result"


def _extends(key: str, old: Any, new: Any, before: Config, now: Config) -> bool:
    """True where the trials or epochs of `old` are also those that `new` begins with."""
    match key.split("."):
        case ["search", "proxy_seeds"]:
            return set(new) >= set(old)
        case ["search", "scouts"] | ["search", "scouts", "ratios"] | ["search", "earlier"]:
            # No trial is another for it, but an adaptive search proposes other points.
            return before.search.adaptive is now.search.adaptive is None
        case ["search", _, "ratios" | "seeds"] | ["search", "axes", _, "ratios" | "seeds"]:
            # An adaptive search proposes other points for other seeds or another interval.
            return before.search.adaptive is now.search.adaptive is None and set(new) >= set(old)
        case ["search", "adaptive", "trials"]:
            return bool(new >= old)
        case ["train", "epochs"]:
            # A decaying rate reaches its end at the last epoch.
            constant = before.train.schedule == now.train.schedule == "constant"
            return constant and bool(new >= old)
    return False


def _is_operational(key: str, config: Config) -> bool:
    section: object = config
    for name in key.split("."):
        if not isinstance(section, BaseModel):
            return False
        field = type(section).model_fields.get(name)  # the other kind of `data` may have it
        if field is None:
            return False
        if OPERATIONAL in field.metadata:
            return True
        section = getattr(section, name)
    return False
