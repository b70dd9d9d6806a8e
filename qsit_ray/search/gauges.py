"""rim: the progress of a search as Ray metrics, for Prometheus and Grafana."""

from __future__ import annotations

from qsit_ray.gauge import HeldGauge
from qsit_ray.search.progress import Progress

TAGS = ("run", "search")
HOUR = 3600.0


class SearchGauges:
    """`qsit_search_<figure>`, set by the driver. `devices`: GPUs of a trial; those of a trial
    without count as one device."""

    def __init__(self, run: str, search: str, devices: float):
        self.tags, self.devices = {"run": run, "search": search}, devices or 1.0
        self.trials = _gauge("trials", "Trials: waiting, running, completed, failed", "state")
        self.used = _gauge(
            "gpu_hours_used",
            "GPU-hours of trials that completed or run; hours of trials that use no GPU",
        )
        self.wasted = _gauge(
            "gpu_hours_wasted",
            "GPU-hours that failed or killed attempts lost, beside those used",
        )
        self.left = _gauge(
            "seconds_left", "Seconds until the last trial ends, at the pace so far; an estimate"
        )

    def set(self, progress: Progress) -> None:
        for state, count in progress.states().items():
            self.trials.set(count, tags={**self.tags, "state": state})
        hours = self.devices / HOUR
        self.used.set(progress.seconds_used() * hours, tags=self.tags)
        self.wasted.set(progress.seconds_wasted() * hours, tags=self.tags)
        left = progress.seconds_left()
        if left is not None:
            self.left.set(left, tags=self.tags)


def _gauge(name: str, description: str, *tags: str) -> HeldGauge:
    return HeldGauge(f"qsit_search_{name}", description, (*TAGS, *tags))
