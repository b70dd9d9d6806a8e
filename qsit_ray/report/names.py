"""pure: what a report calls pools, searches, losses and decisions: the paper's D1, D2 : D3, L_S."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from qsit_ray.config.config import Config
from qsit_ray.controller import HOLD
from qsit_ray.losses import symbol
from qsit_ray.mixture import Axis, short_names
from qsit_ray.run_files import EpochLine


def labels(pools: Iterable[str]) -> dict[str, str]:
    """D1, D2 and so on, by pool."""
    pools = list(pools)
    return dict(zip(pools, short_names(pools), strict=True))


def title(axis: Axis, pools: Iterable[str]) -> str:
    """A searched ratio, such as (D2 + D3) : D1."""
    short = labels(pools)
    over = " + ".join(short[pool] for pool in axis.over)
    return f"{f'({over})' if len(axis.over) > 1 else over} : {short[axis.under]}"


def titles(config: Config) -> dict[str, str]:
    """The searched ratios of a run by the names of their axes."""
    return {axis.name: title(axis, config.pools) for axis in config.axes}


def blend(pools: Sequence[str]) -> str:
    """The pools but the first, such as D2 and D3."""
    *before, last = short_names(pools)[1:]
    return f"{', '.join(before)} and {last}" if before else last


def decision(line: EpochLine) -> str:
    """What the controller decided after an epoch."""
    if line.verdict == HOLD:
        return line.verdict
    return f"grow {blend([*line.sizes])}" if blend_grows(line) else "grow D1"


def blend_grows(line: EpochLine) -> bool:
    """Whether the first task is ahead, so that the pools but the first are to grow."""
    _, second = line.losses
    return line.verdict == f"grow_{second}"


def loss(task: str) -> Markup:
    """The loss of a task, with its index below."""
    _, _, index = symbol(task).partition("_")
    return Markup(f"L<sub>{escape(index)}</sub>")
