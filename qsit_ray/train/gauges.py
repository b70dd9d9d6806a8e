"""rim: figures of a training's steps and epochs as Ray metrics, for Prometheus and Grafana."""

from __future__ import annotations

from qsit_ray.gauge import HeldGauge
from qsit_ray.mixture import Mixture
from qsit_ray.run_files import EpochLine
from qsit_ray.step_lines import StepLine

TAGS = ("run", "training")
STEP = {
    "loss": "Loss of the last global batch, nats per answer token",
    "gradient_norm": "Norm of its gradient before clipping",
    "rate": "Learning rate",
    "rows_per_second": "Rows a second, waits included",
    "tokens_per_second": "Tokens a second, waits included",
    "stall_seconds": "Seconds that the last step waited for rows",
    "mfu": "Model FLOPs over the peak of the GPUs, a share of 1",
    "peak_memory_gib": "Peak memory of the GPU of rank 0 in the last step, GiB",
}


class StepGauges:
    """Figures of the last step, `qsit_train_<figure>`, set by rank 0."""

    def __init__(self, run: str, training: str):
        self.tags = {"run": run, "training": training}
        self.gauges = {name: _gauge(name, text) for name, text in STEP.items()}
        self.losses = _gauge("domain_loss", "Its loss on rows of a domain, as loss", "domain")

    def set(self, line: StepLine) -> None:
        for name, gauge in self.gauges.items():
            value = getattr(line, name)
            if value is not None:
                gauge.set(value, tags=self.tags)
        for domain, loss in line.losses.items():
            if loss is not None:
                self.losses.set(loss, tags={**self.tags, "domain": domain})


class EpochGauges:
    """The mix and its decision, `qsit_train_<figure>`, set by the course actor."""

    def __init__(self, run: str, training: str):
        self.tags = {"run": run, "training": training}
        self.epoch = _gauge("epoch", "Number of the epoch under way, from 0")
        self.rows = _gauge("epoch_rows", "Rows of a domain in the epoch under way", "domain")
        self.ratio = _gauge(
            "loss_ratio", "L_S / L_I, or of the run's own two tasks, of the last validation"
        )
        self.reference = _gauge(
            "reference_loss_ratio", "Lambda, to which the last loss ratio was compared"
        )

    def begin(self, epoch: int, sizes: Mixture) -> None:
        self.epoch.set(epoch, tags=self.tags)
        for domain, count in sizes.items():
            self.rows.set(count, tags={**self.tags, "domain": domain})

    def end(self, line: EpochLine) -> None:
        self.ratio.set(line.loss_ratio, tags=self.tags)
        if line.reference_loss_ratio is not None:
            self.reference.set(line.reference_loss_ratio, tags=self.tags)


def _gauge(name: str, description: str, *tags: str) -> HeldGauge:
    return HeldGauge(f"qsit_train_{name}", description, (*TAGS, *tags))
