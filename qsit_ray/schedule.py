"""pure: the learning rate over a run whose number of steps is not known in advance."""

from __future__ import annotations

import math


def share_of_peak(epochs_done: float, epochs: int | None, warmup: float, final: float) -> float:
    """The share of the peak rate (0 to 1) after `epochs_done` epochs, counted with fractions.

    With `epochs` known: linear from 0 over the share `warmup` of the run, then a half cosine down
    to `final`. With None, for a run that may be prolonged: linear over the share `warmup` of the
    first epoch, then constant.

    Time is counted in epochs, not steps. When |D| changes between epochs, a step of a larger epoch
    moves the schedule by less: the rest of warm-up and decay is spread over the rows to come,
    without a jump, and the run always ends at `final`.
    """
    progress = epochs_done if epochs is None else epochs_done / epochs
    if progress < warmup:
        return progress / warmup
    if epochs is None:
        return 1.0
    decayed = (min(progress, 1.0) - warmup) / (1.0 - warmup)
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * decayed))


def learning_rate(progress: float, peak: float, warmup: float, final_share: float) -> float:
    """The rate at `progress` (share of the run done, 0 to 1) of a run whose length is known."""
    return peak * share_of_peak(progress, 1, warmup, final_share)
