"""rim: a Ray gauge that keeps its value."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import ray
from ray.util.metrics import Gauge

EVERY_SECONDS = 5.0
"""Ray exports every 10 seconds what was set since, and forgets it after 20."""


_lock = threading.Lock()
_held: list[HeldGauge] = []
"""Those that have a value in this session; one thread exports them while there are any."""


class HeldGauge:
    """A Ray gauge whose values are exported until the process ends, or the session.

    Ray's own (2.60) exports a value once: what is set each epoch would soon be gone.
    """

    def __init__(self, name: str, description: str, tags: tuple[str, ...]):
        """`description`: in ASCII, as Ray takes no other."""
        self._gauge = Gauge(name, description, tag_keys=tags)
        self._values: dict[tuple[tuple[str, str], ...], float] = {}

    def set(self, value: float, tags: Mapping[str, str]) -> None:
        with _lock:
            if not _held:
                threading.Thread(target=_repeat, daemon=True).start()
            if not self._values:
                _held.append(self)
            self._values[tuple(sorted(tags.items()))] = value
            self._gauge.set(value, tags=dict(tags))

    def _export(self) -> None:
        for tags, value in self._values.items():
            self._gauge.set(value, tags=dict(tags))


def _repeat() -> None:
    while True:
        time.sleep(EVERY_SECONDS)
        with _lock:
            if not ray.is_initialized():
                for gauge in _held:
                    gauge._values.clear()
                _held.clear()
                return
            for gauge in _held:
                gauge._export()
