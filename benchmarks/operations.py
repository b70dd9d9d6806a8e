"""torch: where a computation's time goes, by kind of operation."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

KINDS = {
    **dict.fromkeys(("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"), "matrix products"),
    "aten::_scaled_dot_product_flash_attention_for_cpu": "attention",
    **dict.fromkeys(("aten::gelu", "aten::silu"), "activations"),
    **dict.fromkeys(("aten::copy_", "aten::cat"), "copies"),
}
"""What torch's operations do; all others are arithmetic by elements."""


def where_time_goes(work: Callable[[], object]) -> str:
    """The shares of a work's seconds by kind of operation in this thread, the largest first.
    Outside torch are Python, and reading images or waiting for a thread that does."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        began = time.perf_counter()
        work()
        whole = time.perf_counter() - began
    spent: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        spent[KINDS.get(event.key, "other operations")] += event.self_cpu_time_total / 1e6
    spent["outside torch"] = max(0.0, whole - sum(spent.values()))
    kinds = sorted(spent, key=lambda kind: -spent[kind])
    return ", ".join(f"{kind} {spent[kind] / whole:.0%}" for kind in kinds)
