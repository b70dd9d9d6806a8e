"""pure: validation losses of a run's two tasks, by name, and their keys in the run's files.

A file has them beside its other values: `loss_scoring`, `rows_scoring`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

Losses = Mapping[str, float]
"""Losses of the tasks in nats per answer token, in the order of `tasks`: the first pool's comes
first."""
Value = TypeVar("Value")
LOSS, ROWS = "loss_", "rows_"
NOT_POOLS = frozenset({"ratio", "mask"})
"""Names that no pool may have: a file has other values of these keys."""
OTHERS = frozenset(LOSS + name for name in NOT_POOLS)
SYMBOLS = {"scoring": "L_S", "interpreting": "L_I"}
"""The paper's."""


def keyed(values: Mapping[str, Value], prefix: str = LOSS) -> dict[str, Value]:
    """Values by pool as a file has them."""
    return {prefix + pool: value for pool, value in values.items()}


def apart(content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The losses in a file's values, by pool, and the other values."""
    own = {key for key in content if key.startswith(LOSS) and key not in OTHERS}
    losses = {key.removeprefix(LOSS): content[key] for key in content if key in own}
    return losses, {key: value for key, value in content.items() if key not in own}


def flat(content: Mapping[str, Any]) -> dict[str, Any]:
    """A value's fields as a file has them: those of `losses` beside the others, in their place."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= keyed(value) if key == "losses" else {key: value}
    return found


def unkeyed(content: Any) -> Any:
    """A file's values with those of losses under `losses`; what is no mapping as it is."""
    if not isinstance(content, Mapping):
        return content
    losses, others = apart(content)
    return {**others, "losses": losses}


def ratio(losses: Losses) -> float:
    """The loss of the first task over that of the second (Eq. 8)."""
    first, second = losses.values()
    return first / second


def symbol(task: str) -> str:
    """A task's loss as it is written in a line of text."""
    return SYMBOLS.get(task, f"L_{task}")


def symbols(tasks: Any) -> str:
    """The ratio of the tasks' losses as it is written in a line of text."""
    return " / ".join(map(symbol, tasks))
