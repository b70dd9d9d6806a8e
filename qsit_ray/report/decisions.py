"""pure: what the controller did in a training, in words."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from qsit_ray.controller import HOLD
from qsit_ray.losses import symbols
from qsit_ray.report.formats import significant
from qsit_ray.report.names import blend, blend_grows
from qsit_ray.run_files import EpochLine

MOST_TOLD = 8
"""Epochs that are told one by one; the table has all."""


def summary(epochs: Sequence[EpochLine]) -> str:
    """One or two sentences; empty without an epoch."""
    known = [line for line in epochs if line.reference_loss_ratio is not None]
    if not epochs:
        return ""
    if not known:
        return "Without λ the controller has nothing to hold the loss ratio to: the sizes stay."
    held = sum(line.verdict == HOLD for line in known)
    blended = sum(map(blend_grows, known))
    counted = [
        f"{_times(number)} {words}"
        for number, words in (
            (blended, f"for more {blend([*known[0].sizes])}"),
            (len(known) - held - blended, "for more D1"),
            (held, "for the same sizes"),
        )
        if number
    ]
    first, last = known[0], known[-1]
    text = (
        f"Over {len(known)} epoch{'s' * (len(known) != 1)} the controller decided {_and(counted)}. "
    )
    if len(known) == 1:
        return f"{text}The loss ratio was {_distance(last)}."
    nearer = abs(_deviation(last)) - abs(_deviation(first))
    verb = "came nearer to λ" if nearer < 0 else "went away from λ" if nearer > 0 else "stayed"
    return (
        f"{text}The loss ratio {verb}: {_distance(first)} after epoch {first.epoch}, "
        f"{_distance(last)} after epoch {last.epoch}."
    )


def told(epochs: Sequence[EpochLine]) -> list[str]:
    """A sentence for each of the last epochs that has λ: the loss ratio against it, and the sizes
    that followed."""
    sentences = []
    known = [line for line in epochs if line.reference_loss_ratio is not None]
    for line in known[-MOST_TOLD:]:
        ratio, reference = significant(line.loss_ratio), significant(line.reference_loss_ratio)
        quotient = symbols(line.losses)
        text = f"After epoch {line.epoch}: {quotient} = {ratio}, {_side(line)} λ = {reference}"
        if line.verdict == HOLD:
            text += ", so the sizes stay"
        else:
            first, second = line.losses
            ahead = first if blend_grows(line) else second
            text += f"; {ahead} is ahead"
            text += "" if line.next_sizes is None else ", so the other side is to grow"
        sentences.append(f"{text}{_change(line)}.")
    return sentences


def _change(line: EpochLine) -> str:
    if line.next_sizes is None:
        return "" if line.verdict == HOLD else ", and no epoch follows"
    if line.next_sizes == line.sizes:
        return "" if line.verdict == HOLD else ", but a limit keeps the sizes"
    now, then = line.sizes, line.next_sizes
    first, *others = now
    blended = (sum(now[pool] for pool in others), sum(then[pool] for pool in others))
    parts = [
        f"{name} {_from_to(*rows)}"
        for name, rows in ((blend([*now]), blended), ("D1", (now[first], then[first])))
        if rows[0] != rows[1]
    ]
    return f": {' and '.join(parts)}" if parts else ""


def _from_to(before: int, after: int) -> str:
    return f"from {before:,} to {after:,} rows"


def _deviation(line: EpochLine) -> float:
    """The loss ratio over λ, less 1."""
    reference = line.reference_loss_ratio
    assert reference is not None
    return line.loss_ratio / reference - 1


def _side(line: EpochLine) -> str:
    deviation = _deviation(line)
    if abs(deviation) <= (line.tolerance or 0.0):
        return f"within ±{100 * (line.tolerance or 0.0):.2g} % of"
    return "below" if deviation < 0 else "above"


def _distance(line: EpochLine) -> str:
    deviation = 100 * _deviation(line)
    if round(abs(deviation), 1) == 0:
        return "at λ"
    digits = f"{abs(deviation):.0f}" if abs(deviation) >= 10 else f"{abs(deviation):.1f}"
    return f"{digits} % {'below' if deviation < 0 else 'above'} λ"


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _and(parts: Sequence[str]) -> str:
    """`a`, `a and b`, or `a, b and c`."""
    return " and ".join(itertools.chain([", ".join(parts[:-1])] if parts[1:] else [], parts[-1:]))
