"""rim: a Ray gauge that keeps its value."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import ray
from ray.util.metrics import Gauge

EVERY_SECONDS = 5.0
"""Ray exports every 10 seconds what was set since, and forgets it after 20."""


class HeldGauge:
    """A Ray gauge whose values are exported until the process ends, or the session.

    Ray's own (2.60) exports a value once: what is set each epoch would soon be gone.
    """

    def __init__(self, name: str, description: str, tags: tuple[str, ...]):
        """`description`: in ASCII, as Ray takes no other."""
        self._gauge = Gauge(name, description, tag_keys=tags)
        self._values: dict[tuple[tuple[str, str], ...], float] = {}
        self._setting = threading.Lock()

    def set(self, value: float, tags: Mapping[str, str]) -> None:
        with self._setting:
            if not self._values:
                threading.Thread(target=self._repeat, daemon=True).start()
            self._values[tuple(sorted(tags.items()))] = value
            self._gauge.set(value, tags=dict(tags))

    def _repeat(self) -> None:
        ended = threading.Event()
        while not ended.wait(EVERY_SECONDS):
            with self._setting:
                if not ray.is_initialized():
                    self._values.clear()
                    return
                for tags, value in self._values.items():
                    self._gauge.set(value, tags=dict(tags))
