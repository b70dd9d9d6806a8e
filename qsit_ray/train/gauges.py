"""rim: the figures of a training's last step as Ray metrics, for Prometheus and Grafana."""

from __future__ import annotations

from ray.util.metrics import Gauge

from qsit_ray.step_lines import StepLine

FIGURES = {
    "loss": "Loss of the last global batch, nats per answer token",
    "loss_scoring": "Its loss on scoring rows",
    "loss_interpreting": "Its loss on interpreting rows",
    "loss_general": "Its loss on general rows",
    "gradient_norm": "Norm of its gradient before clipping",
    "rate": "Learning rate",
    "rows_per_second": "Rows a second, waits included",
    "tokens_per_second": "Tokens a second, waits included",
    "stall_seconds": "Seconds that the last step waited for rows",
    "mfu": "Model FLOPs over the peak of the GPUs",
    "peak_memory_gib": "Peak memory of the GPU of rank 0 in the last step, GiB",
}


class Gauges:
    """`ray_qsit_train_<figure>`, with the training's name as the tag `training`."""

    def __init__(self, training: str):
        self.tags = {"training": training}
        self.gauges = {
            name: Gauge(f"qsit_train_{name}", description=text, tag_keys=("training",))
            for name, text in FIGURES.items()
        }

    def set(self, line: StepLine) -> None:
        for name, gauge in self.gauges.items():
            value = getattr(line, name)
            if value is not None:
                gauge.set(value, tags=self.tags)
