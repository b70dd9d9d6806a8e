"""pure: the learning rate over a run whose number of steps is not known in advance."""

from __future__ import annotations

import math


def learning_rate(progress: float, peak: float, warmup: float, final_share: float) -> float:
    """The rate at `progress` (share of the run done, 0 to 1).

    Linear from 0 to `peak` over the share `warmup`, then a half cosine down to
    `peak * final_share`. Progress counts epochs, not steps, so that an epoch that grows keeps
    the schedule whole.
    """
    if progress < warmup:
        return peak * progress / warmup
    decayed = (min(progress, 1.0) - warmup) / (1.0 - warmup)
    return peak * (final_share + (1.0 - final_share) * 0.5 * (1.0 + math.cos(math.pi * decayed)))
