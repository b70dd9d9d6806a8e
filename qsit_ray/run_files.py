"""pure: the run folder's mixture.json and epochs.jsonl as typed values (docs/RUN_FOLDER.md).

The keys of the files are the names of the fields; both are a documented format.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from qsit_ray import artifacts
from qsit_ray.config.files import validated
from qsit_ray.controller import Reference, Verdict
from qsit_ray.losses import Losses, flat, symbol, unkeyed
from qsit_ray.mixture import DOMAINS, Mixture

ReferenceKind = Literal["best", "end", "epoch"]
"""Which λ of the final proxies (`train.controller.reference`)."""


@dataclass(frozen=True)
class FoundMix:
    """mixture.json: the ratios of the pools with D1 = 1, the rows they give, and λ.

    `reference_loss_ratio` is λ = L_S / L_I of the final proxies (Eq. 8), each at its best, None
    without them; `reference_loss_ratio_error` is its standard error over the proxies, None for one.
    `reference_at_end` is the ratio when they ended, and `reference_curve` that at each evaluation,
    by epochs of their mixture.
    `loss_mask` names the tokens that count in the loss, and `loss` their weights in training, on
    which λ depends; in files from before it was recorded each token counted once. `catalog` is the
    SHA-256 of the catalog's manifest; files from before it was recorded have None.
    """

    ratios: dict[str, float]
    reference_loss_ratio: float | None
    loss_mask: str
    rows: Mixture
    catalog: str | None = None
    loss: str = "token_mean"
    reference_loss_ratio_error: float | None = None
    reference_at_end: Reference | None = None
    reference_curve: tuple[Reference, ...] = ()

    def references(self, kind: ReferenceKind) -> tuple[Reference, ...]:
        """λ as `train.controller.reference` takes it, by epochs; none without proxies, or where the
        file is from before their evaluations were recorded."""
        if kind == "epoch":
            return self.reference_curve
        if kind == "end":
            return () if self.reference_at_end is None else (self.reference_at_end,)
        if self.reference_loss_ratio is None:
            return ()
        return (Reference(0.0, self.reference_loss_ratio, self.reference_loss_ratio_error),)

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def read(cls, path: Path) -> FoundMix:
        """Raises InputError naming the file that can't be read or lacks a key."""
        content = artifacts.read_json(path)
        if isinstance(content, dict) and "ratios" not in content and set(DOMAINS) <= set(content):
            # From before pools had names of their own.
            content = {**content, "ratios": {domain: content[domain] for domain in DOMAINS}}
        return validated(cls, content, str(path))


@dataclass(frozen=True)
class EpochLine:
    """One line of epochs.jsonl: the rows of an epoch, its validation and the decision after it.

    Losses are means over answer tokens of validation rows, in nats; `srcc` and `accuracy` are None
    where undefined. `tolerance` is the relative band around λ in which the controller holds, None
    without one. `consumed` is the checksum of the rows trained, `planned` that of the plan.
    `next_sizes` is None after the last epoch. `timing` holds seconds.
    """

    epoch: int
    sizes: Mixture
    losses: Losses
    loss_ratio: float
    reference_loss_ratio: float | None
    verdict: Verdict
    next_sizes: Mixture | None
    srcc: float | None
    accuracy: float | None
    plan_sha256: str
    consumed: int
    planned: int
    rows_planned: int
    rows_trained: int
    rows_skipped: int
    answers_cut: int
    timing: dict[str, float]
    tolerance: float | None = None

    def to_json(self) -> dict[str, object]:
        return flat(asdict(self))

    def __str__(self) -> str:
        """The line as the terminal shows it when the epoch ends."""
        wanted = self.reference_loss_ratio
        skipped = f" ({self.rows_skipped:,} skipped)" if self.rows_skipped else ""
        losses = ", ".join(f"{symbol(task)} {loss:.4f}" for task, loss in self.losses.items())
        text = (
            f"epoch {self.epoch}: {in_rows(self.sizes)}{skipped}, {losses}, "
            f"ratio {self.loss_ratio:.3f}"
        )
        if wanted is not None:
            text += f" (λ {wanted:.3f}): {self.verdict.replace('_', ' ')}"
        if self.next_sizes is None:
            return text
        return f"{text}; next {in_rows(self.next_sizes)}"


def in_rows(sizes: Mixture) -> str:
    """The rows of the pools as the terminal shows them."""
    return " : ".join(f"{count:,}" for count in sizes.values()) + " rows"


def read_epochs(path: Path) -> list[EpochLine]:
    """The epochs that have ended; none where the file does not exist yet.

    Raises InputError naming the file and the line that can't be read.
    """
    if not path.exists():
        return []
    return [
        validated(EpochLine, unkeyed(content), f"{path}, line {number}")
        for number, content in enumerate(artifacts.read_jsonl(path), start=1)
    ]
